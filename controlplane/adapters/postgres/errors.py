"""The one place where the driver's errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from controlplane.domain.errors import ControlError, Skewed, StoreUnavailable

UNDEFINED_TABLE = "42P01"
# Deadlock, lock timeout, serialization failure, and a second active rollout: another writer won.
LOST_A_RACE = frozenset({"40P01", "55P03", "40001", "23505"})


@asynccontextmanager
async def bounded(
    timeout_s: float, lost_race: type[ControlError] = StoreUnavailable
) -> AsyncIterator[None]:
    """Run a call to PostgreSQL with a time limit; the driver's errors become StoreUnavailable.

    Losing against another writer (deadlock, lock timeout, unique key) raises `lost_race`. A hung
    server is an error like a dead one; our own errors pass through. What cannot be decoded was
    written by another release: Skewed.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except ControlError:
        raise
    except TimeoutError as error:
        raise StoreUnavailable(
            f"PostgreSQL did not answer within {timeout_s:g} s; check that the server is well."
        ) from error
    except msgspec.ValidationError as error:
        raise Skewed(
            f"PostgreSQL holds what this program cannot read ({error}): a newer release wrote it."
            " Ask an instance of that release, or replace this program by it."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise translated(error, lost_race) from error


def translated(error: Exception, lost_race: type[ControlError] = StoreUnavailable) -> ControlError:
    """Our error for one of the driver's; the sentence carries the server's own first line."""
    cause = getattr(error, "orig", None) or error
    code = str(getattr(cause, "sqlstate", None) or "")
    # SQLAlchemy's wrapper writes "<class '…'>: message".
    lines = str(cause).split(">: ")[-1].splitlines()
    said = lines[0] if lines else type(cause).__name__
    if code in LOST_A_RACE:
        return lost_race(f"Another writer was faster ({said}); try again.")
    if code == UNDEFINED_TABLE:
        return StoreUnavailable(
            "The database has no control-plane tables; run `camp migrate upgrade`."
        )
    return StoreUnavailable(
        f"PostgreSQL cannot be used: {said}. Check DATABASE_URL and that the server runs."
    )
