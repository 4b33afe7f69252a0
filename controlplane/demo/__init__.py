"""What `camp demo` and the tests need from a bare machine."""
