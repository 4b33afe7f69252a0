"""What an agent keeps on its own machine: a lock, an epoch, a clock, its way to instances."""
