"""The demo's load, and its figures taken from outside."""
