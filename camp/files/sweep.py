"""Finds content that no file refers to, and deletes it once it is old enough."""

import re
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select

from camp.database.engine import Sessions
from camp.files.models import File
from camp.files.storage import Storage, Stored

BATCH = 500
# PROJECT/FILE, and PROJECT/FILE#1 while a folder's file is half written. Whatever else lies in
# the storage is not ours.
_OURS = re.compile(r"[0-9a-f]{32}/([0-9a-f]{32})(#\d+)?")


class Swept(msgspec.Struct, frozen=True):
    """What a sweep saw and did; `finished` is false when the deadline came first."""

    examined: int
    orphans: tuple[str, ...]
    deleted: int
    finished: bool


async def sweep(
    sessions: Sessions,
    storage: Storage,
    *,
    before: datetime,
    deadline_s: float,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda _: None,
) -> Swept:
    """Delete the orphans last written `before`; uploads that are under way are younger.

    `told` hears now and then how many objects were looked at.
    Raises StorageUnavailable, and what the database raises.
    """
    ends = time.monotonic() + deadline_s
    examined, orphans, deleted = 0, list[str](), 0
    batch: list[Stored] = []
    finished = True
    async for stored in storage.list():
        examined += 1
        if stored.modified < before and _OURS.fullmatch(stored.key):
            batch.append(stored)
        if len(batch) == BATCH:
            found = await _orphans(sessions, batch)
            orphans += found
            deleted += 0 if dry_run else await _delete(storage, found, ends)
            batch = []
        if examined % BATCH == 0:
            told(examined)
        if time.monotonic() >= ends:
            finished = False
            break
    found = await _orphans(sessions, batch)
    orphans += found
    deleted += 0 if dry_run else await _delete(storage, found, ends)
    finished = finished and (dry_run or deleted == len(orphans))
    return Swept(examined, tuple(orphans), deleted, finished)


async def _orphans(sessions: Sessions, batch: list[Stored]) -> list[str]:
    """The keys of those that no row refers to."""
    ids = {stored.key: UUID(hex=match[1]) for stored in batch if (match := _match(stored.key))}
    async with sessions() as session:
        kept = set(await session.scalars(select(File.id).where(File.id.in_(ids.values()))))
    return [key for key, file_id in ids.items() if file_id not in kept or "#" in key]


def _match(key: str) -> re.Match[str] | None:
    return _OURS.fullmatch(key)


async def _delete(storage: Storage, keys: list[str], ends: float) -> int:
    for done, key in enumerate(keys):
        if time.monotonic() >= ends:
            return done
        await storage.delete(key)
    return len(keys)
