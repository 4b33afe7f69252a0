"""The truth, in PostgreSQL: what leaders and agents read and write.

Leaders write through `commit` only: one transaction that first checks the epoch, then that
nothing the plan was made from has changed.
"""

from __future__ import annotations

from typing import Protocol

from controlplane.domain.goals import HostDesired
from controlplane.domain.records import Changes, HostRow, Snapshot
from controlplane.domain.reports import HostReport

__all__ = ["Changes", "HostRow", "Snapshot", "Store"]


class Store(Protocol):
    """All methods raise StoreUnavailable; the environment is the one the store was opened for."""

    async def claim_epoch(self, holder: str, seen: int) -> bool:
        """Raise the epoch from `seen` to `seen + 1` for this holder; false: another was faster."""
        ...

    async def epoch(self) -> int:
        """The highest epoch issued."""
        ...

    async def led(self, epoch: int) -> bool:
        """Note that somebody leads now; false: this is not the epoch that was issued last."""
        ...

    async def observe(self) -> Snapshot:
        """Everything a leader plans from, jobs in the order of their attempts.

        A report that cannot be read is that host's `unread`. Raises Skewed when what leaders wrote
        cannot be read.
        """
        ...

    async def commit(self, epoch: int, holder: str, seen: Snapshot, changes: Changes) -> None:
        """Write one step. Raises Fenced (epoch outdated, or claimed by another holder) or Stale
        (something in `seen` changed: environment version, rollout row version, desired or report
        version of a host, table; or the look itself is older than LOOK_VALID_S)."""
        ...

    async def sweep(self, epoch: int, holder: str) -> int:
        """Forget what the environment's policy no longer keeps, at most SWEPT_ROWS of each kind.

        Returns the size of the largest batch. A host that was seen at a moment to come is silent
        from now on. Raises Fenced, and Stale when another writer was faster.
        """
        ...

    async def desired(self, host: str) -> HostDesired | None:
        """What a host should do, with the current epoch; None: the environment has no such host.

        Raises Skewed, by the protocol before anything else is read.
        """
        ...

    async def claim(self, host: str, agent: str) -> str:
        """Ask for a host as the agent of this id; the id of the agent that has it now.

        The holder keeps it until it was silent for the policy's host_silence_s, while the
        claimant asked all that time. Raises NotFound.
        """
        ...

    async def tell(self, events: tuple[tuple[str, str], ...]) -> None:
        """Add (kind, message) entries to the environment's log."""
        ...

    async def report(self, report: HostReport) -> bool:
        """Store what an agent saw and that it was seen; true when it is news.

        Only then the report's version grows: not for the progress of a pull, nor for what a
        one-shot run says, which are seen by the next look all the same.

        False, and nothing is stored, when another agent has the host.
        """
        ...
