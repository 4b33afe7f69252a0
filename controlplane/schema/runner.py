"""Applies revisions to a database, each exactly once however many runners start together.

One connection does it all: it polls for an advisory lock (a blocking wait would deadlock with
CREATE INDEX CONCURRENTLY), commits so that no snapshot of its own stands in the way of the
index build, and then gives each revision its own transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import func

from camp.config.database_url import connect_options
from controlplane.domain.errors import Conflict, ControlError, Invalid, StoreUnavailable
from controlplane.schema.scripts import config, known, packaged, pending, resolve, scripts, step_of

# Any fixed number that nobody else locks.
MIGRATION_LOCK = 7_306_085_893_296_402_000
POLL_S = 0.2
LOCK_TIMEOUT_MS = 3_000
STATEMENT_TIMEOUT_MS = 800_000
CONNECT_TIMEOUT_S = 5.0
SESSION = {
    "application_name": "camp migrate",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": "60000",
}
# 0.5 + 1 + 2 + 4 + 8 + 8 s between the tries, each of which waits LOCK_TIMEOUT_MS at most.
TRIES = 7
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK = "40P01"
STATEMENT_TIMED_OUT = "57014"

Say = Callable[[str], None]


class MigrationBusy(ControlError):
    """Another migration holds the lock, or traffic holds the tables; later it may work."""

    code = "migration_busy"
    retry = True


class MigrationFailed(ControlError):
    """A revision's SQL was refused; it was taken back whole, those before it stay."""

    code = "migration_failed"


@dataclass(frozen=True, slots=True)
class Order:
    """What one run was asked for, and what it has applied so far, over all its tries."""

    folder: Path
    to: str
    release: str
    run_id: str
    say: Say
    wait_s: float
    applied: list[str] = field(default_factory=list)


async def upgrade(
    database_url: str,
    to: str = "head",
    *,
    release: str = "",
    run_id: str = "",
    say: Say = print,
    wait_s: float = 600.0,
    folder: Path | None = None,
) -> list[str]:
    """Bring the database up to a revision; the ids that this run applied, oldest first.

    `wait_s` bounds the wait for another runner; `folder` holds the revisions, this release's own
    unless given. Raises Invalid (unknown revision), Conflict (the
    database is newer than this release), MigrationBusy, MigrationFailed, StoreUnavailable.
    """
    folder = folder or packaged()
    order = Order(folder, resolve(scripts(folder), to), release, run_id, say, wait_s)
    for attempt in range(1, TRIES + 1):
        try:
            await _try(database_url, order)
            return order.applied
        except MigrationBusy as busy:
            if attempt == TRIES or busy.__cause__ is None:
                raise
            pause_s = min(2.0 ** (attempt - 2), 8.0)
            say(f"{busy.sentence} Trying again in {pause_s:g} s.")
            await asyncio.sleep(pause_s)
    return order.applied


async def current(database_url: str) -> str | None:
    """The revision a database is at; None when nothing was ever applied."""
    async with _connected(database_url) as connection:
        return await connection.run_sync(_current)


async def _try(database_url: str, order: Order) -> None:
    async with _connected(database_url) as connection:
        await _lock(connection, order.wait_s, order.say)
        at = await connection.run_sync(_current)
        await connection.commit()
        directory = scripts(order.folder)
        _refuse_newer(directory, at)
        if not pending(directory, at, order.to):
            order.say(f"The database is at {at}; nothing to apply.")
            return
        await connection.run_sync(_apply, order)


async def _lock(connection: AsyncConnection, wait_s: float, say: Say) -> None:
    """Take the session's lock; it ends with the connection, however that ends."""
    deadline = time.monotonic() + wait_s
    waiting = False
    while True:
        taken = await connection.scalar(select(func.pg_try_advisory_lock(MIGRATION_LOCK)))
        await connection.commit()
        if taken:
            return
        if not waiting:
            say("waiting for another migration to finish")
            waiting = True
        if time.monotonic() >= deadline:
            raise MigrationBusy(
                f"Another migration has held the lock for {wait_s:g} s; see pg_stat_activity for"
                " application_name 'camp migrate', let it end, then run this again."
            )
        await asyncio.sleep(POLL_S)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(directory: ScriptDirectory, at: str | None) -> None:
    if at is not None and not known(directory, at):
        raise Conflict(
            f"The database is at revision {at}, which this release does not know: the database is"
            " newer. Nothing was changed; migrate with the newer release."
        )


def _apply(connection: Connection, order: Order) -> None:
    settings = config(order.folder)
    settings.attributes.update(connection=connection, release=order.release, run_id=order.run_id)
    directory = ScriptDirectory.from_config(settings)

    def steps(at: Any, _: MigrationContext) -> Iterator[Any]:
        for step in directory._upgrade_revs(order.to, at):
            order.say(f"applying {step_of(step.revision)}")
            yield step
            # Alembic asks for the next step once the last one is committed.
            order.applied.append(step.revision.revision)

    with EnvironmentContext(settings, directory, fn=steps, destination_rev=order.to):
        directory.run_env()


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[AsyncConnection]:
    """One connection with short locks; driver errors leave as ours."""
    try:
        url, arguments = connect_options(database_url)
    except ValueError as error:
        raise Invalid(f"DATABASE_URL {error}.") from error
    arguments = {"timeout": CONNECT_TIMEOUT_S} | arguments | {"server_settings": SESSION}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=arguments)
    try:
        async with engine.connect() as connection:
            yield connection
    except (DBAPIError, OSError, TimeoutError) as error:
        raise _translated(error) from error
    finally:
        await engine.dispose()


def _translated(error: Exception) -> ControlError:
    code = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    said = str(getattr(error, "orig", error)).split(">: ")[-1].splitlines()[0:1]
    what = said[0] if said else type(error).__name__
    if code in {LOCK_NOT_AVAILABLE, DEADLOCK}:
        return MigrationBusy("A table that the revision needs is in use by longer transactions.")
    if code == STATEMENT_TIMED_OUT:
        return MigrationFailed(
            f"A statement ran longer than {STATEMENT_TIMEOUT_MS // 1000} s and was taken back;"
            " split the revision into smaller steps."
        )
    if code and code[:2] not in {"08", "53", "57", "28", "3D"}:
        return MigrationFailed(
            f"PostgreSQL refused a revision: {what} (SQLSTATE {code}). It was taken back;"
            " correct the revision or the data, then run this again."
        )
    return StoreUnavailable(
        f"PostgreSQL cannot be used: {what}. Check DATABASE_URL and that the server runs."
    )
