"""Whose storage it is: an object in it names the database that its files have their rows in."""

import re
from collections.abc import AsyncIterator

import msgspec
from sqlalchemy import text

from camp.database.engine import Sessions
from camp.files.storage import Storage

# Before every other key of ours, so that a list in order begins with it.
FOLDER = ".camp-owner/"
# The server's own number tells two databases of one name apart; a copy of one gets another.
_WHO = text("SELECT system_identifier, current_database() FROM pg_control_system()")


class Owner(msgspec.Struct, frozen=True):
    """A database, and the environment that it was used by; `key` is the object that says so."""

    server: str
    database: str
    environment: str

    @property
    def key(self) -> str:
        return f"{FOLDER}{self.server}/{self.database}/{self.environment}"

    def same_database(self, other: "Owner") -> bool:
        return (self.server, self.database) == (other.server, other.database)

    def __str__(self) -> str:
        return f"{self.database} of {self.environment} (server {self.server})"


def read(key: str) -> Owner | None:
    """The owner that a key names; None for all other objects."""
    parts = key.removeprefix(FOLDER).split("/")
    return Owner(*parts) if key.startswith(FOLDER) and len(parts) == 3 else None


async def this_database(sessions: Sessions, environment: str) -> Owner:
    """Who would own a storage that is used from here."""
    async with sessions() as session:
        server, database = (await session.execute(_WHO)).one()
    return Owner(str(server), re.sub(r"[^A-Za-z0-9_-]", "_", database), environment)


async def claim(storage: Storage, owner: Owner, before: list[Owner]) -> None:
    """Make it the one owner. Raises StorageUnavailable."""
    if before == [owner]:
        return
    await storage.put(owner.key, _content(owner))
    for former in before:
        if former != owner:
            await storage.delete(former.key)


async def _content(owner: Owner) -> AsyncIterator[bytes]:
    yield f"The files in here have their rows in {owner}. camp files sweep reads this.\n".encode()
