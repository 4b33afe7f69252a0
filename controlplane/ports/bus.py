"""Nudges: a lost one costs time, never correctness."""

from __future__ import annotations

from typing import Protocol


class Bus(Protocol):
    """Wake-ups by topic ("leader", "host:NAME", "events"), at most once, best effort.

    Neither method raises when the bus is down: a nudge is lost, a wait lasts its time.
    """

    async def nudge(self, *topics: str) -> None:
        """Wake whoever waits for one of the topics."""
        ...

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a nudge on the topics this bus was opened for; true when one came.

        A nudge that arrives while nobody waits is remembered and ends the next wait at once.
        """
        ...
