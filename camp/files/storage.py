"""Where the bytes of files are: the port, and the adapter for folders, S3 and Azure Blob."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import msgspec

from camp.config.storage_url import folder_of
from camp.errors import ContentMissing, StorageUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# The least that S3 takes as one part. With two on their way, an upload holds about 15 MB at the
# most, whatever its size.
PART_BYTES = 5 * 1024 * 1024
PARTS_AT_ONCE = 2
# A download asks for one range after another: no connection lives longer than one of them, so
# that the time limit can be short however slow the reader is.
READ_BYTES = 2 * 1024 * 1024
REQUEST_TIMEOUT_S = 30
RETRY_S = 5
AWAY = "The storage of files does not answer. Try again in a moment."


class Stored(msgspec.Struct, frozen=True):
    """An object in the storage, and when it was last written."""

    key: str
    modified: datetime


class Storage(Protocol):
    """Keeps content by key; what fails raises StorageUnavailable."""

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        """Keep the whole content, or, when the iterator raises, nothing of it."""
        ...

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to before `end`, as they arrive. Raises ContentMissing."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the content; a key without content is no error."""
        ...

    def list(self) -> AsyncGenerator[Stored, None]:
        """Every object, and what an upload that died has left of one."""
        ...


class ObjectStorage:
    """obstore over STORAGE_URL; opens nothing until the first use."""

    def __init__(self, url: str, options: tuple[str, ...] = ()) -> None:
        self._url = url
        self._options = options
        self._folder = folder_of(url)
        self._opened: ObjectStore | None = None

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        import obstore

        with _translated():
            await obstore.put_async(
                self._store(),
                key,
                content,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        # The first part is read before anything is answered: what is missing is a 404.
        first = await self._part(key, start, end)
        return self._rest(first, key, start + len(first), end)

    async def delete(self, key: str) -> None:
        if self._folder is not None:
            await asyncio.to_thread((self._folder / key).unlink, missing_ok=True)
            return
        import obstore

        with _translated():
            await obstore.delete_async(self._store(), key)

    async def list(self) -> AsyncGenerator[Stored, None]:
        if self._folder is not None:
            # obstore leaves out what is half written, and that is what must be found.
            for stored in await asyncio.to_thread(_walk, self._folder):
                yield stored
            return
        import obstore

        with _translated():
            async for batch in obstore.list(self._store()):
                for meta in batch:
                    yield Stored(meta["path"], meta["last_modified"])

    async def _part(self, key: str, start: int, end: int) -> bytes:
        import obstore

        stop = min(end, start + READ_BYTES)
        with _translated():
            return bytes(await obstore.get_range_async(self._store(), key, start=start, end=stop))

    async def _rest(self, first: bytes, key: str, at: int, end: int) -> AsyncGenerator[bytes, None]:
        yield first
        while at < end:
            part = await self._part(key, at, end)
            at += len(part)
            yield part

    def _store(self) -> "ObjectStore":
        if self._opened is None:
            self._opened = _open(self._url, self._options, self._folder)
        return self._opened


def key_of(project_id: UUID, file_id: UUID) -> str:
    """Where the content of a file is."""
    return f"{project_id.hex}/{file_id.hex}"


def _open(url: str, options: tuple[str, ...], folder: Path | None) -> Any:
    from obstore.store import LocalStore, from_url

    if folder is not None:
        return LocalStore(folder, mkdir=True)
    config: Any = dict(option.split("=", 1) for option in options)
    # A server of one's own in the same network may be asked in the clear; clouds never are.
    in_the_clear = any(value.startswith("http://") for value in config.values())
    return from_url(
        url,
        config=config,
        client_options={"timeout": f"{REQUEST_TIMEOUT_S}s", "allow_http": in_the_clear},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_S)},
    )


def _walk(folder: Path) -> list[Stored]:
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:  # published or deleted meanwhile
                continue
            found.append(Stored(path.relative_to(folder).as_posix(), modified))
    return found


@contextmanager
def _translated() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise ContentMissing(
            "The content of this file is not in the storage. Delete the file and upload it again;"
            " if others are missing too, tell who runs the service."
        ) from error
    except (BaseError, OSError) as error:
        raise StorageUnavailable(AWAY) from error
