"""The one history of schema changes; run by `camp migrate`, never by an instance at start."""
