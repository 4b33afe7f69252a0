"""What a user can do with runs."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar.pagination import OffsetPagination
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from camp.database.engine import Sessions, uuid7
from camp.database.locks import one_at_a_time
from camp.errors import IdempotencyKeyReused, RunActive, RunNotFound, TooManyRuns
from camp.http.paging import PageQuery, page
from camp.runs.kinds import Kinds, read_input
from camp.runs.models import ACTIVE, Run
from camp.runs.schemas import NewRun, RunFault, RunOut

RETRY_AFTER_S = 10
OrderBy = Literal["created_at", "updated_at", "state", "kind"]
Nudge = Callable[[], Awaitable[None]]
"""Wakes the workers of all instances; lost, it costs them one poll."""


class RunService:
    """Use cases of runs; each opens one short session."""

    def __init__(self, sessions: Sessions, kinds: Kinds, nudge: Nudge, max_active: int) -> None:
        self._sessions = sessions
        self._kinds = kinds
        self._nudge = nudge
        self._max_active = max_active

    async def start(self, user_id: UUID, new: NewRun, key: str | None) -> RunOut:
        """Make a run, or find the one that this key made.

        Raises Invalid, RunInputInvalid, IdempotencyKeyReused, TooManyRuns.
        """
        kind, checked = read_input(self._kinds, new.kind, new.input)
        now = datetime.now(UTC)
        values = {
            "id": uuid7(),
            "user_id": user_id,
            "kind": new.kind,
            "input": msgspec.to_builtins(checked),
            "idempotency_key": key,
            "state": "waiting",
            "attempts_max": kind.attempts_max,
            "due_at": func.now(),
            "expires_at": func.now() + timedelta(seconds=kind.deadline_s),
            "created_at": now,
            "updated_at": now,
        }
        make = insert(Run).values(**values)
        make = make.on_conflict_do_nothing(index_elements=["user_id", "idempotency_key"])
        same = select(Run).where(Run.user_id == user_id, Run.idempotency_key == key)
        async with self._sessions.begin() as session:
            # One at a time for each user, or two at once would both find the last free place.
            await one_at_a_time(session, user_id)
            made = (await session.scalars(make.returning(Run))).one_or_none()
            if made is not None:
                await self._require_place(session, user_id)
            run = made or (await session.scalars(same)).one()
        if made is not None:
            await self._nudge()
        elif (run.kind, run.input) != (new.kind, values["input"]):
            raise IdempotencyKeyReused(
                "Idempotency-Key: another run was made with this key. Send a new key, or the"
                " same kind and input as the first time."
            )
        return out(run)

    async def _require_place(self, session: AsyncSession, user_id: UUID) -> None:
        """Raises TooManyRuns, which takes back the one that was just made."""
        active = select(func.count()).where(Run.user_id == user_id, Run.state.in_(ACTIVE))
        if (await session.scalar(active) or 0) > self._max_active:
            raise TooManyRuns(
                f"{self._max_active} of your runs wait or run already. Try again when one has"
                " ended, or cancel one.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def page(
        self, user_id: UUID, state: str | None, asked: PageQuery
    ) -> OffsetPagination[RunOut]:
        """The user's runs, of one state if it is named."""
        query = select(Run).where(Run.user_id == user_id)
        if state is not None:
            query = query.where(Run.state == state)
        return await page(
            self._sessions, query, asked, model=Run, searched=set(), out=lambda row: out(row[0])
        )

    async def get(self, user_id: UUID, run_id: UUID) -> RunOut:
        """A run of this user. Raises RunNotFound."""
        async with self._sessions() as session:
            return out(_owned(await session.get(Run, run_id), user_id))

    async def cancel(self, user_id: UUID, run_id: UUID) -> RunOut:
        """End a run; its worker stops at its next report or heartbeat. Raises RunNotFound.

        One that has ended already stays as it is.
        """
        mine = (Run.id == run_id, Run.user_id == user_id)
        stop = update(Run).where(*mine, Run.state.in_(ACTIVE))
        stop = stop.values(state="cancelled", updated_at=func.now())
        async with self._sessions.begin() as session:
            await session.execute(stop.execution_options(synchronize_session=False))
            run = _owned(await session.get(Run, run_id), user_id)
        await self._nudge()
        return out(run)

    async def delete(self, user_id: UUID, run_id: UUID) -> None:
        """Forget a run that has ended. Raises RunNotFound, RunActive."""
        async with self._sessions.begin() as session:
            run = _owned(await session.get(Run, run_id, with_for_update=True), user_id)
            if run.state in ACTIVE:
                raise RunActive("The run has not ended. Cancel it first.")
            await session.delete(run)


def _owned(run: Run | None, user_id: UUID) -> Run:
    if run is None or run.user_id != user_id:
        raise RunNotFound("You have no such run. GET /api/v1/runs lists yours.")
    return run


def out(run: Run) -> RunOut:
    """A run as its user sees it."""
    fields: dict[str, Any] = {
        name: getattr(run, name) for name in RunOut.__struct_fields__ if name != "error"
    }
    fault = None if run.error is None else msgspec.convert(run.error, RunFault)
    return RunOut(**fields, error=fault)
