"""The progress of a run as a stream of events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from camp.http import sse
from camp.lifecycle import Lifecycle
from camp.runs.schemas import RunOut
from camp.runs.service import RunService

log = structlog.get_logger("camp.runs")

LOOK_S = 0.5


async def stream(
    run: RunOut, user_id: UUID, runs: RunService, lifecycle: Lifecycle, heartbeat_s: float
) -> AsyncGenerator[bytes, None]:
    """Events: `progress` with the run for each change, `done` with the ended run; `draining` asks
    to come again. Each carries all there is to know, so nothing has to be replayed.

    Holds no database connection between two looks; ends at the run's own deadline at the latest.
    """
    source = _changes(run, user_id, runs)
    with lifecycle.event_stream():
        async with (
            aclosing(source),
            aclosing(sse.until(source, lifecycle.draining, heartbeat_s)) as seen,
        ):
            try:
                async for now in seen:
                    if now is None:
                        yield sse.HEARTBEAT
                    else:
                        yield sse.event("done" if now.ended else "progress", now)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("run cannot be read", run_id=str(run.id), cause=repr(error))
                detail = "The database does not answer. Ask again in a moment."
                fault = {"code": "database_unavailable", "detail": detail, "retryable": True}
                yield sse.event("error", fault)
                return
        if lifecycle.draining.is_set():
            yield sse.event("draining", {"resume": "ask again"})


async def _changes(run: RunOut, user_id: UUID, runs: RunService) -> AsyncGenerator[RunOut, None]:
    yield run
    while not run.ended:
        await asyncio.sleep(LOOK_S)
        now = await runs.get(user_id, run.id)
        if now != run:
            run = now
            yield run
