"""Appending to the event log so that a reader who follows ids misses none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import func

from controlplane.adapters.postgres.tables import events

# Any fixed number that nobody else locks.
APPEND_LOCK = 7_306_085_893_296_402_001


async def append(
    connection: AsyncConnection,
    environment: str,
    entries: Iterable[tuple[str, str]],
    *,
    rollout: str | None = None,
    epoch: int | None = None,
    data: Any = None,
) -> None:
    """Add (kind, message) entries; call it last in a transaction.

    Ids are handed out under a lock that is held until the commit: without it, id 8 could become
    visible before id 7, and a reader that asked for "after 8" would never see 7. Taken last, the
    lock cannot be part of a deadlock; the connection's lock_timeout bounds the wait.
    """
    rows = [
        {
            "environment": environment,
            "rollout": rollout,
            "kind": kind,
            "message": message,
            "data": data,
            "epoch": epoch,
        }
        for kind, message in entries
    ]
    if rows:
        await connection.execute(select(func.pg_advisory_xact_lock(APPEND_LOCK)))
        await connection.execute(events.insert(), rows)
