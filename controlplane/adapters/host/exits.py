"""How a process ended, in words."""

from __future__ import annotations

# A shell, and an engine, say 128 and the signal's number.
BY_SIGNAL = 128
LAST_SIGNAL = 64


def how_ended(code: int) -> str:
    """From an exit code; negative, or above 128, it names the signal that ended the process."""
    number = -code if code < 0 else code - BY_SIGNAL
    if 0 < number <= LAST_SIGNAL:
        return f"ended with signal {number}"
    return f"ended with code {code}"
