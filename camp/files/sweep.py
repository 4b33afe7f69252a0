"""Finds content that no file refers to, and deletes it once it is old enough."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select

from camp.database.engine import Sessions
from camp.files.models import File
from camp.files.owner import Owner, claim, read
from camp.files.storage import Storage, Stored

BATCH = 500
# More than this share of files without a row is rather the wrong database than rubbish.
ORPHANS_MAX = 0.5
# PROJECT/FILE, and PROJECT/FILE#1 while a folder's file is half written. Whatever else lies in
# the storage is not ours.
_OURS = re.compile(r"[0-9a-f]{32}/([0-9a-f]{32})(#\d+)?")


class Swept(msgspec.Struct, frozen=True):
    """What a sweep saw and did; `finished` is false when the deadline came first.

    `refused` says why nothing was deleted, or would be, and what helps.
    """

    examined: int
    orphans: tuple[str, ...]
    deleted: int
    finished: bool
    refused: str = ""


class Permission(msgspec.Struct, frozen=True):
    """Who asks, and what they insist on: `force` many orphans, `claim` a storage of another."""

    owner: Owner
    force: bool = False
    claim: bool = False


@dataclass
class _Look:
    """What lies in the storage; `whole` and `lost` count old files, and those without a row."""

    examined: int = 0
    whole: int = 0
    lost: int = 0
    finished: bool = True
    orphans: list[str] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)


async def sweep(
    sessions: Sessions,
    storage: Storage,
    permission: Permission,
    *,
    before: datetime,
    deadline_s: float,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda _: None,
) -> Swept:
    """Delete the orphans last written `before`; uploads that are under way are younger.

    Nothing is deleted before everything was looked at, for which there is half of the time: what
    looks like an orphan may be another database's file. `told` hears how many were looked at.
    Raises StorageUnavailable, and what the database raises.
    """
    began = time.monotonic()
    look = await _looked(sessions, storage, before, began + deadline_s / 2, told)
    refused, orphans = _refusal(look, permission), tuple(look.orphans)
    if dry_run or refused:
        return Swept(look.examined, orphans, 0, look.finished, refused)
    if look.lost < look.whole or permission.force or permission.claim:
        await claim(storage, permission.owner, look.owners)
    deleted = await _delete(storage, look.orphans, began + deadline_s)
    return Swept(look.examined, orphans, deleted, look.finished and deleted == len(orphans))


async def _looked(
    sessions: Sessions,
    storage: Storage,
    before: datetime,
    ends: float,
    told: Callable[[int], None],
) -> _Look:
    look, batch = _Look(), list[Stored]()
    async for stored in storage.list():
        owner = read(stored.key)
        if owner is not None:
            look.owners.append(owner)
            continue
        look.examined += 1
        if stored.modified < before and _OURS.fullmatch(stored.key):
            batch.append(stored)
        if len(batch) == BATCH:
            await _add(sessions, look, batch)
            batch = []
        if look.examined % BATCH == 0:
            told(look.examined)
        if time.monotonic() >= ends:
            look.finished = False
            break
    await _add(sessions, look, batch)
    return look


async def _add(sessions: Sessions, look: _Look, batch: list[Stored]) -> None:
    orphans = await _orphans(sessions, batch)
    look.orphans += orphans
    # What is half written says nothing about whose the storage is.
    look.whole += sum("#" not in stored.key for stored in batch)
    look.lost += sum("#" not in key for key in orphans)


def _refusal(look: _Look, permission: Permission) -> str:
    strangers = [one for one in look.owners if not one.same_database(permission.owner)]
    if strangers and not permission.claim:
        return (
            f"This storage belongs to {strangers[0]}, and you are at {permission.owner}. Correct"
            " DATABASE_URL or STORAGE_URL; if this database took the other's place (a restore, a"
            " move), say so with --claim."
        )
    if not look.owners and not look.finished:
        return "Not everything could be looked at in the time. Give more with --deadline-s."
    if look.lost > look.whole * ORPHANS_MAX and not permission.force:
        return (
            f"{look.lost} of {look.whole} files have no row in {permission.owner}: is it the"
            " database that this storage belongs to? Correct DATABASE_URL or STORAGE_URL, or look"
            " at them with --dry-run and delete them with --force."
        )
    return ""


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
