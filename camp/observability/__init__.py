"""What an instance tells about itself: logs, metrics, traces."""
