"""The database: one engine per instance, and the base every table is declared on."""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from advanced_alchemy.base import AdvancedDeclarativeBase
from advanced_alchemy.mixins import AuditColumns
from sqlalchemy import Executable, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

from camp.config.database_url import asyncpg_arguments, connect_options
from camp.config.settings import Settings

__all__ = [
    "Sessions",
    "Statements",
    "TimedBase",
    "asyncpg_arguments",
    "build_engine",
    "build_sessions",
    "connect_options",
    "metadata",
    "pool_usage",
    "uuid7",
]

Sessions = async_sessionmaker[AsyncSession]

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
# A connection that was used a moment ago is not asked whether it still lives.
TRUSTED_S = 1.0


def uuid7() -> UUID:
    """A UUID that sorts by its millisecond (RFC 9562 version 7); Python has its own from 3.14."""
    millis = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    return UUID(int=millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)


class TimedBase(AuditColumns, AdvancedDeclarativeBase):
    """Base of the service's tables: id (UUIDv7), created_at and updated_at (UTC).

    Not advanced-alchemy's UUIDv7AuditBase: before Python 3.14 that one falls back to UUIDv4
    without a further package, and it adds an insert sentinel column a UUID key does not need.
    """

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-100)


metadata = TimedBase.metadata


def build_engine(settings: Settings) -> AsyncEngine:
    """The instance's engine; opens nothing until the first use."""
    url, connect_args = connect_options(settings.database_url)
    connect_args.setdefault("timeout", CONNECT_TIMEOUT_S)
    connect_args.setdefault("command_timeout", COMMAND_TIMEOUT_S)
    connect_args.setdefault(
        "server_settings", {"application_name": f"camp {settings.camp_instance}"}
    )
    engine = create_async_engine(
        url,
        connect_args=connect_args,
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_max_overflow,
        pool_timeout=settings.db_pool_timeout_s,
        # What users say would stand in the log of every statement that fails.
        hide_parameters=True,
    )
    _replace_dead_connections(engine)
    return engine


def _replace_dead_connections(engine: AsyncEngine) -> None:
    """See to it that a restarted database costs no failed request.

    `pool_pre_ping` would do as much, with a transaction of three round trips at every checkout.
    The driver knows at once when the server has closed a connection; what only a network may have
    swallowed is asked for after a pause.
    """

    def rested(_: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def taken(connection: Any, record: Any, _: Any) -> None:
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError
        if time.monotonic() - record.info.get("used_at", time.monotonic()) < TRUSTED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", rested)
    event.listen(engine.sync_engine, "checkout", taken)


class Statements:
    """Runs single statements, each of which commits itself: one round trip, no transaction.

    For what is asked most; what takes several statements needs a session.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.sync_engine.execution_options(isolation_level="AUTOCOMMIT")

    async def run(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[Any]:
        """All rows, each a tuple of its columns."""

        def work() -> Sequence[Any]:
            with self._engine.connect() as connection:
                return connection.execute(statement, values).all()

        # Once for connect, execute and close together.
        return await greenlet_spawn(work)


def build_sessions(engine: AsyncEngine) -> Sessions:
    """Makes short sessions: one unit of work each, never one per request or per stream."""
    return async_sessionmaker(engine, expire_on_commit=False)


def pool_usage(engine: AsyncEngine) -> tuple[int, int]:
    """(connections in use, connections the pool keeps); overflow is seen as in use > kept."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)  # what create_async_engine builds for asyncpg
    return pool.checkedout(), pool.size()
