"""The answer to "can this instance serve?", asked of the database on a connection of its own."""

import asyncio
import time

import asyncpg
import msgspec

from camp.database.engine import asyncpg_arguments
from camp.ops.schema import SchemaHistory

CHECK_TIMEOUT_S = 1.0
LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


class Verdict(msgspec.Struct, frozen=True):
    """What one check found; `reason` is None when the instance can serve."""

    database_up: bool
    reason: str | None
    at: float = 0.0


class Readiness:
    """Checks database and schema; concurrent probes share one check.

    The connection is not the pool's: a pool that is used up says nothing about the database,
    and a probe that waits for it would take a busy instance out of service.
    """

    def __init__(self, database_url: str, history: SchemaHistory) -> None:
        self._arguments = asyncpg_arguments(database_url)
        self._history = history
        self._connection: asyncpg.Connection | None = None
        self._running: asyncio.Task[Verdict] | None = None
        self._last = Verdict(False, "the database was not asked yet")

    async def check(self, max_age_s: float = 0.0) -> Verdict:
        """A verdict at most `max_age_s` old; takes CHECK_TIMEOUT_S at the longest."""
        if max_age_s and time.monotonic() - self._last.at < max_age_s:
            return self._last
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._check())
        # Shielded: a prober that hangs up must not take the answer from the others.
        self._last = await asyncio.shield(self._running)
        return self._last

    async def close(self) -> None:
        """Give up the connection."""
        self._drop()

    async def _check(self) -> Verdict:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                rows = await self._applied()
        except asyncpg.UndefinedTableError:
            return Verdict(True, self._history.missing(), time.monotonic())
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._drop()
            return Verdict(False, f"database does not answer ({_cause(error)})", time.monotonic())
        return Verdict(True, self._history.fault(rows), time.monotonic())

    async def _applied(self) -> list[tuple[str, str]]:
        if self._connection is not None:
            try:
                return await _history_rows(self._connection)
            except LOST:
                # A restart of the database costs this connection, not the instance's place.
                self._drop()
        self._connection = await asyncpg.connect(**self._arguments)
        return await _history_rows(self._connection)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def _history_rows(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT revision, phase FROM schema_history")
    return [(row["revision"], row["phase"]) for row in rows]


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    return type(error).__name__
