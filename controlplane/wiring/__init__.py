"""Where a process is put together: an agent, and the control API of an instance."""
