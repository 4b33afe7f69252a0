"""What a storage of files must do: in memory, in a folder, and on a server that speaks S3."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from camp.errors import ContentMissing, StorageUnavailable
from camp.files.storage import PART_BYTES, ObjectStorage, Storage
from tests.fakes.storage import FakeStorage

MEGABYTE = 1_000_000
# More than one part of a multipart upload, and more than one range of a download.
LARGE = PART_BYTES + 2 * MEGABYTE


class Cut(Exception):
    """The source of an upload ends in the middle."""


async def content(size: int, cut_at: int | None = None) -> AsyncGenerator[bytes, None]:
    for at in range(0, size, MEGABYTE):
        if cut_at is not None and at >= cut_at:
            raise Cut
        yield bytes([at // MEGABYTE % 256]) * min(MEGABYTE, size - at)


async def whole(storage: Storage, key: str, start: int, end: int) -> bytes:
    return b"".join([part async for part in await storage.read(key, start, end)])


async def keys(storage: Storage) -> list[str]:
    return sorted([stored.key async for stored in storage.list()])


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str) -> ObjectStorage:
    httpx.post(f"{s3_server}/moto-api/reset").raise_for_status()
    httpx.put(f"{s3_server}/camp").raise_for_status()
    keys = ("aws_access_key_id=a", "aws_secret_access_key=b", "aws_region=us-east-1")
    return ObjectStorage("s3://camp/files", (*keys, f"aws_endpoint={s3_server}"))


@pytest.fixture(params=["fake", "folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    match request.param:
        case "fake":
            return FakeStorage()
        case "folder":
            return ObjectStorage(f"file://{tmp_path}/files")
        case _:
            found: ObjectStorage = request.getfixturevalue("s3")
            return found


@pytest.mark.parametrize("size", [1, MEGABYTE, LARGE])
async def test_content_comes_back_as_it_was(storage: Storage, size: int) -> None:
    await storage.put("a/b", content(size))
    expected = b"".join([block async for block in content(size)])
    assert await whole(storage, "a/b", 0, size) == expected
    assert await keys(storage) == ["a/b"]


async def test_ranges_are_exact(storage: Storage) -> None:
    await storage.put("a/b", content(LARGE))
    assert await whole(storage, "a/b", MEGABYTE - 1, MEGABYTE + 2) == b"\x00\x01\x01"
    assert await whole(storage, "a/b", LARGE - 1, LARGE) == b"\x07"
    assert len(await whole(storage, "a/b", 10, LARGE)) == LARGE - 10


@pytest.mark.parametrize("cut_at", [0, MEGABYTE, PART_BYTES + MEGABYTE])
async def test_content_that_is_cut_leaves_nothing(storage: Storage, cut_at: int) -> None:
    with pytest.raises(Cut):
        await storage.put("a/b", content(LARGE, cut_at))
    assert await keys(storage) == []
    with pytest.raises(ContentMissing):
        await whole(storage, "a/b", 0, 1)


async def test_deleted_content_is_gone_and_may_be_deleted_again(storage: Storage) -> None:
    await storage.put("a/b", content(1))
    await storage.put("a/c", content(1))
    await storage.delete("a/b")
    await storage.delete("a/b")
    assert await keys(storage) == ["a/c"]


async def test_listed_content_has_its_time(storage: Storage) -> None:
    await storage.put("a/b", content(1))
    times = [stored.modified async for stored in storage.list()]
    assert [abs(datetime.now(UTC) - at) < timedelta(minutes=1) for at in times] == [True]


async def test_cut_upload_leaves_no_parts_on_the_server(s3: ObjectStorage, s3_server: str) -> None:
    with pytest.raises(Cut):
        await s3.put("a/b", content(3 * PART_BYTES, 2 * PART_BYTES))
    async with httpx.AsyncClient() as client:
        assert "<Upload>" not in (await client.get(f"{s3_server}/camp?uploads")).text


async def test_half_written_file_of_a_dead_instance_is_listed(tmp_path: Path) -> None:
    storage = ObjectStorage(f"file://{tmp_path}")
    await storage.put("a/b", content(1))
    (tmp_path / "a" / "c#1").write_bytes(b"half")
    assert await keys(storage) == ["a/b", "a/c#1"]
    await storage.delete("a/c#1")
    assert await keys(storage) == ["a/b"]


async def test_server_that_is_away_is_unavailable() -> None:
    keys = ("aws_access_key_id=a", "aws_secret_access_key=b", "aws_region=us-east-1")
    storage = ObjectStorage("s3://camp", (*keys, "aws_endpoint=http://127.0.0.1:1"))
    with pytest.raises(StorageUnavailable):
        await whole(storage, "a/b", 0, 1)


@pytest.mark.parametrize("options", [("azure_msi_endpoint=x",), ("aws_no_such_option=x",)])
async def test_options_that_do_not_fit_are_unavailable(options: tuple[str, ...]) -> None:
    with pytest.raises(StorageUnavailable):
        await ObjectStorage("s3://camp", options).put("a/b", content(1))


async def test_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file where a folder should be")
    with pytest.raises(StorageUnavailable):
        await ObjectStorage(f"file://{tmp_path}").put("a/b", content(1))
