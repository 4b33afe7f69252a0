"""The leader's time-limited key."""

from __future__ import annotations

from typing import Protocol


class Lease(Protocol):
    """One key an environment, held as `holder:epoch`. Raises BusUnavailable."""

    async def acquire(self, holder: str, epoch: int, ttl_s: float) -> bool:
        """Take the key if nobody has it; true when it is ours."""
        ...

    async def renew(self, holder: str, epoch: int, ttl_s: float) -> bool:
        """Extend the key if it still says holder:epoch; false: it is lost."""
        ...

    async def release(self, holder: str, epoch: int) -> None:
        """Give the key up if it still says holder:epoch."""
        ...

    async def holder(self) -> tuple[str, int] | None:
        """Who holds the key now, and its epoch."""
        ...
