"""Where images are published."""
