"""The database: one engine per instance, and the base every table is declared on."""

import secrets
import time
from uuid import UUID

from advanced_alchemy.base import AdvancedDeclarativeBase
from advanced_alchemy.mixins import AuditColumns
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import QueuePool

from camp.db_url import asyncpg_arguments, connect_options
from camp.settings import Settings

__all__ = [
    "Sessions",
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
    return create_async_engine(
        url,
        connect_args=connect_args,
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_max_overflow,
        pool_timeout=settings.db_pool_timeout_s,
        # One round trip per checkout, so that a restarted database costs no failed request.
        pool_pre_ping=True,
    )


def build_sessions(engine: AsyncEngine) -> Sessions:
    """Makes short sessions: one unit of work each, never one per request or per stream."""
    return async_sessionmaker(engine, expire_on_commit=False)


def pool_usage(engine: AsyncEngine) -> tuple[int, int]:
    """(connections in use, connections the pool keeps); overflow is seen as in use > kept."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)  # what create_async_engine builds for asyncpg
    return pool.checkedout(), pool.size()
