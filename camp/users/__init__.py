"""The users slice."""
