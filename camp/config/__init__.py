"""What the operator sets, read once at the start and checked before anything runs."""
