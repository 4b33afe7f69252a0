"""What an environment follows, and what was seen of it: the truth as the watcher uses it."""

from __future__ import annotations

from typing import Protocol

from controlplane.domain.model import Rollout
from controlplane.domain.sightings import FollowLook, Record

__all__ = ["FollowLook", "Follows", "Record"]


class Follows(Protocol):
    """One environment's. All methods raise StoreUnavailable.

    Writes are fenced by the epoch and by who holds it.
    """

    async def look(self) -> FollowLook | None:
        """The rule and all that is decided by; None: the environment follows nothing."""
        ...

    async def record(self, epoch: int, holder: str, seen: FollowLook, record: Record) -> None:
        """Write what a look found. Raises Fenced, Stale (the rule or what is
        remembered has changed since `seen`), Conflict (a release was made known meanwhile that
        does not agree)."""
        ...

    async def start(
        self,
        epoch: int,
        holder: str,
        seen: FollowLook,
        version: str,
        digest: str,
        *,
        reason: str,
    ) -> Rollout:
        """Begin a rollout to a release, once for each digest; with the rule's mode `approval` it
        waits for one whatever the policy says. Raises Fenced, Stale, and Conflict while a
        rollout is active."""
        ...
