"""A storage in memory that can be away."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime

from camp.errors import ContentMissing, StorageUnavailable
from camp.files.storage import Stored

PART_BYTES = 1000


class FakeStorage:
    """Content by key. `away`: every call raises StorageUnavailable."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, datetime]] = {}
        self.away = False

    def check(self) -> None:
        if self.away:
            raise StorageUnavailable("The storage of files does not answer.")

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        self.check()
        whole = b"".join([block async for block in content])
        self.kept[key] = (whole, datetime.now(UTC))

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        self.check()
        if key not in self.kept:
            raise ContentMissing("The content is not there.")
        return self._parts(self.kept[key][0][start:end])

    async def delete(self, key: str) -> None:
        self.check()
        self.kept.pop(key, None)

    async def list(self) -> AsyncGenerator[Stored, None]:
        self.check()
        for key, (_, modified) in list(self.kept.items()):
            yield Stored(key, modified)

    async def _parts(self, content: bytes) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(content), PART_BYTES):
            yield content[at : at + PART_BYTES]
