"""For those who run the service: health, metrics, drain."""
