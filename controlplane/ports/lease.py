"""The leader's time-limited key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody who could lead does not: an error's code and sentence."""

    holder: str
    code: str
    sentence: str


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

    async def give_reason(self, reason: Reason, ttl_s: float) -> None:
        """Say for a while why a candidate does not lead; the last one to say so is heard."""
        ...

    async def reason(self) -> Reason | None:
        """Why a candidate does not lead, if one said so lately."""
        ...
