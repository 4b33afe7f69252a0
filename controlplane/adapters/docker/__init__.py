"""Instances as containers of one Docker engine."""
