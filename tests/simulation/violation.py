"""What the simulator looks for."""

from __future__ import annotations


class Violation(AssertionError):
    """A safety property did not hold; the text begins with its name."""
