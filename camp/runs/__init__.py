"""The runs slice."""
