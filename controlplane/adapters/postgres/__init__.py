"""The truth in PostgreSQL."""
