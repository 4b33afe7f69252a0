"""Transactions of the ledger: bounded in time, drivers' errors translated once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncpg import PostgresError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from controlplane.domain.errors import Conflict, StoreUnavailable

LIMIT_S = 5.0
LOCK_LIMIT = text("SET LOCAL lock_timeout = '3s'")


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for reads. Raises StoreUnavailable."""
    async with _translated(), engine.connect() as connection:
        yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction, committed at the end. Raises StoreUnavailable; Conflict when a row that
    must be unique came from elsewhere at the same moment."""
    async with _translated(), engine.begin() as connection:
        await connection.execute(LOCK_LIMIT)
        yield connection


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LIMIT_S):
            yield
    except IntegrityError as error:
        raise Conflict(
            "Someone else made the same change at the same moment; look again and repeat."
        ) from error
    except DBAPIError as error:
        raise _meaning(error) from error
    except (OSError, TimeoutError, SQLAlchemyError, PostgresError) as error:
        raise StoreUnavailable(f"PostgreSQL does not answer ({_short(error)}).") from error


def _meaning(error: DBAPIError) -> StoreUnavailable:
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == "42P01":
        return StoreUnavailable("The control plane's tables are missing; run camp migrate upgrade.")
    if state == "55P03":
        return StoreUnavailable("A row stayed locked for 3 s; try again in a moment.")
    return StoreUnavailable(
        f"PostgreSQL does not answer ({_short(error.orig or error)}); see that it runs and that "
        "DATABASE_URL is right."
    )


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
