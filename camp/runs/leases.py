"""Who works on which run: taking, keeping, giving back; every write is fenced.

Times are the database's, so that the clocks of two instances need not agree.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Update, and_, delete, func, select, tuple_, update

from camp.database.engine import Sessions
from camp.runs.models import ACTIVE, ENDED, Run
from camp.runs.schemas import RunFault

# Of one sweep: the next one goes on, and nobody waits for long behind it.
FORGET_MAX = 500


class LeaseLost(Exception):
    """Someone else works on the run now, or it was cancelled, or it expired."""


class Lease(msgspec.Struct, frozen=True):
    """The right to work on a run, until another take has a higher fence."""

    run_id: UUID
    fence: int
    user_id: UUID
    kind: str
    input: dict[str, Any]
    checkpoint: dict[str, Any] | None
    attempt: int
    attempts_max: int


class Leases:
    """The leases of one instance in PostgreSQL; each method is one short transaction."""

    def __init__(self, sessions: Sessions, holder: str, lease_s: float) -> None:
        self._sessions = sessions
        self._holder = holder
        self._lease = timedelta(seconds=lease_s)

    async def take(self, kinds: Iterable[str], limit: int) -> list[Lease]:
        """Up to `limit` runs of these kinds that wait, or whose lease has ended."""
        due = (
            select(Run.id)
            .where(
                Run.state.in_(ACTIVE),
                Run.kind.in_(kinds),
                Run.due_at <= func.now(),
                Run.expires_at > func.now(),
                Run.attempt < Run.attempts_max,
            )
            .order_by(Run.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte()  # or PostgreSQL may evaluate it, and its limit, more than once
        )
        taken = _change(Run.id.in_(select(due.c.id))).values(
            state="running",
            fence=Run.fence + 1,
            attempt=Run.attempt + 1,
            holder=self._holder,
            due_at=func.now() + self._lease,
        )
        columns = [getattr(Run, name) for name in Lease.__struct_fields__[1:]]
        async with self._sessions.begin() as session:
            rows = (await session.execute(taken.returning(Run.id, *columns))).all()
        return [Lease(*row) for row in rows]

    async def renew(self, held: Iterable[Lease]) -> set[UUID]:
        """Lengthen the leases; the runs that are still held."""
        pairs = [(lease.run_id, lease.fence) for lease in held]
        mine = and_(tuple_(Run.id, Run.fence).in_(pairs), Run.state == "running")
        renewed = _change(mine).values(due_at=func.now() + self._lease).returning(Run.id)
        async with self._sessions.begin() as session:
            return set((await session.scalars(renewed)).all())

    async def report(
        self, lease: Lease, done: int, total: int | None, checkpoint: dict[str, Any]
    ) -> None:
        """Keep how far it has come, and lengthen the lease. Raises LeaseLost."""
        await self._write(
            lease,
            steps_done=done,
            steps_total=total,
            checkpoint=checkpoint,
            due_at=func.now() + self._lease,
        )

    async def succeed(self, lease: Lease, result: dict[str, Any]) -> None:
        """Raises LeaseLost."""
        await self._write(lease, state="succeeded", result=result, error=None, holder=None)

    async def fail(self, lease: Lease, fault: RunFault, retry_in_s: float | None) -> None:
        """Let it wait for another attempt; None ends it. Raises LeaseLost."""
        error = msgspec.to_builtins(fault)
        if retry_in_s is None:
            await self._write(lease, state="failed", error=error, holder=None)
        else:
            due_at = func.now() + timedelta(seconds=retry_in_s)
            await self._write(lease, state="waiting", error=error, holder=None, due_at=due_at)

    async def release(self, lease: Lease) -> None:
        """Give it back at once, for another instance: this attempt does not count.

        Raises LeaseLost.
        """
        await self._write(
            lease, state="waiting", attempt=Run.attempt - 1, holder=None, due_at=func.now()
        )

    async def sweep(self) -> None:
        """End what has expired, and what no worker survived."""
        expired = and_(Run.state.in_(ACTIVE), Run.expires_at <= func.now())
        lost = and_(
            Run.state == "running", Run.due_at <= func.now(), Run.attempt >= Run.attempts_max
        )
        faults = (
            (expired, RunFault("run_expired", "It did not end in time. Start it again.", True)),
            (lost, RunFault("run_lost", "Its workers ended before it did, each time.", False)),
        )
        async with self._sessions.begin() as session:
            for what, fault in faults:
                locked = select(Run.id).where(what).with_for_update(skip_locked=True)
                ended = _change(Run.id.in_(select(locked.cte().c.id)))
                error = msgspec.to_builtins(fault)
                await session.execute(ended.values(state="failed", error=error, holder=None))

    async def forget(self, after: timedelta) -> int:
        """Delete runs that ended so long ago, at most `FORGET_MAX`; how many there were."""
        old = select(Run.id).where(Run.state.in_(ENDED), Run.updated_at < func.now() - after)
        some = old.order_by(Run.updated_at).limit(FORGET_MAX).with_for_update(skip_locked=True)
        gone = delete(Run).where(Run.id.in_(select(some.cte().c.id))).returning(Run.id)
        gone = gone.execution_options(synchronize_session=False)
        async with self._sessions.begin() as session:
            return len((await session.scalars(gone)).all())

    async def _write(self, lease: Lease, **values: Any) -> None:
        mine = and_(Run.id == lease.run_id, Run.fence == lease.fence, Run.state == "running")
        written = _change(mine).values(**values).returning(Run.id)
        async with self._sessions.begin() as session:
            if (await session.scalars(written)).one_or_none() is None:
                raise LeaseLost


def _change(which: ColumnElement[bool]) -> Update:
    changed = update(Run).where(which).values(updated_at=func.now())
    return changed.execution_options(synchronize_session=False)
