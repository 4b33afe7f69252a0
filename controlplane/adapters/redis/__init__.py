"""The lease, nudges and questions for logs in Redis."""
