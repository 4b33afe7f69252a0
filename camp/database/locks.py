"""One at a time, among all instances."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


async def one_at_a_time(session: AsyncSession, key: UUID) -> None:
    """Wait until no other transaction holds this key; this one holds it to its end.

    Two keys that share their last eight bytes only wait for each other.
    """
    number = int.from_bytes(key.bytes[-8:], signed=True)
    await session.execute(select(func.pg_advisory_xact_lock(number)))
