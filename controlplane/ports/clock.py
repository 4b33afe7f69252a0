"""Time on this machine. Decisions use database time instead, which all leaders share."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in seconds; never compared between machines."""

    def monotonic(self) -> float: ...
