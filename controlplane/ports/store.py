"""The truth, in PostgreSQL: what leaders and agents read and write.

Leaders write through `commit` only: one transaction that first checks the epoch, then that
nothing the plan was made from has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controlplane.domain.fleet import HostDesired, HostReport, Job, SlotGoal, Table
from controlplane.domain.model import Environment, Release, Rollout


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host as stored. Versions count changes; `seen_at` moves with every report."""

    name: str
    desired_version: int
    images: tuple[Release, ...]
    report: HostReport | None
    report_version: int
    seen_at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent look at an environment; `now` is database time in seconds.

    `rollout` is the active one, or None.
    """

    now: float
    environment: Environment
    rollout: Rollout | None
    slots: tuple[SlotGoal, ...]
    hosts: tuple[HostRow, ...]
    table: Table
    jobs: tuple[Job, ...]
    schema: frozenset[str]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one step writes, all or nothing.

    `slots` are upserts, `freed` deletes; hosts named in either, in `images` (the new whole list
    of a host) or in `jobs` get a new desired version. `events` are (kind, message) for the log.
    `current`: the release the environment now holds, with `previous` to go back to.
    """

    rollout: Rollout | None = None
    slots: tuple[SlotGoal, ...] = ()
    freed: tuple[tuple[str, int], ...] = ()
    images: tuple[tuple[str, tuple[Release, ...]], ...] = ()
    jobs: tuple[Job, ...] = ()
    table: Table | None = None
    events: tuple[tuple[str, str], ...] = ()
    held: tuple[Release, Release | None] | None = None


class Store(Protocol):
    """All methods raise StoreUnavailable; the environment is the one the store was opened for."""

    async def claim_epoch(self, holder: str, seen: int) -> bool:
        """Raise the epoch from `seen` to `seen + 1` for this holder; false: another was faster."""
        ...

    async def epoch(self) -> int:
        """The highest epoch issued."""
        ...

    async def observe(self) -> Snapshot:
        """Everything a leader plans from."""
        ...

    async def commit(self, epoch: int, seen: Snapshot, changes: Changes) -> None:
        """Write one step. Raises Fenced (epoch outdated) or Stale (something in `seen` changed:
        environment version, rollout row version, desired or report version of a host, table)."""
        ...

    async def desired(self, host: str) -> HostDesired | None:
        """What a host should do, with the current epoch; None: the environment has no such host."""
        ...

    async def report(self, report: HostReport) -> bool:
        """Store what an agent saw and that it was seen; true when it differed from the last.

        The report's version grows only when the report differs from the stored one.
        """
        ...
