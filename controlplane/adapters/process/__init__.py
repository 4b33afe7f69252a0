"""Instances as processes of this machine, from bundles."""
