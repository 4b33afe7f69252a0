"""The one engine of an instance, and how sessions are made from it."""
