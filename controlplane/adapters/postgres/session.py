"""The ledger's transactions: bounded in time, drivers' errors translated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from controlplane.adapters.postgres.errors import bounded
from controlplane.domain.errors import Conflict

TIMEOUT_S = 5.0
LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '3s'")


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for reads of one statement each. Raises StoreUnavailable."""
    # A statement alone needs no BEGIN and ROLLBACK: two round trips less.
    plain = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with bounded(TIMEOUT_S), plain.connect() as connection:
        yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction, committed at the end. Raises StoreUnavailable, and Conflict when another
    writer was faster."""
    async with bounded(TIMEOUT_S, Conflict), engine.begin() as connection:
        await connection.execute(LOCK_TIMEOUT)
        yield connection
