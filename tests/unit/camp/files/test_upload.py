from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from camp.config.media_types import TYPES
from camp.files.errors import FileEmpty, FileTooLarge, TypeRefused, UploadCut, UploadStalled
from camp.files.upload import BLOCK_BYTES, HEAD_BYTES, Upload, media_type

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
ZIP = b"PK\x03\x04" + b"\x00" * 60
EXE = b"MZ\x90\x00" + b"\x00" * 60
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def upload(*bodies: bytes, ends: str = "whole", max_bytes: int = 10**9) -> Upload:
    """An upload that arrives in these pieces, and then `ends`: whole, cut or stalled."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": True} for body in bodies
    ]
    if ends == "whole":
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    if ends == "cut":
        messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    return Upload(receive, max_bytes, idle_s=0.01)


async def read(source: Upload) -> list[bytes]:
    await source.head()
    return [block async for block in source.blocks()]


async def test_small_pieces_become_blocks_of_a_bounded_size() -> None:
    piece = b"x" * 65_536
    source = upload(*[piece] * 50)
    blocks = await read(source)
    assert max(map(len, blocks)) <= BLOCK_BYTES + len(piece)
    assert b"".join(blocks) == piece * 50
    assert source.size == 50 * 65_536
    assert source.sha256 == hashlib.sha256(piece * 50).hexdigest()


async def test_head_waits_for_enough_to_tell_the_type() -> None:
    assert await upload(b"a", b"b", b"c").head() == b"abc"
    assert len(await upload(b"a" * 5000, b"b" * 5000).head()) == HEAD_BYTES


async def test_file_over_the_limit_ends_as_soon_as_it_passes_it() -> None:
    source = upload(*[b"x" * 1000] * 20_000, max_bytes=2_000_000)
    with pytest.raises(FileTooLarge):
        await read(source)
    assert source.size <= 2_001_000


@pytest.mark.parametrize(("ends", "error"), [("cut", UploadCut), ("stalled", UploadStalled)])
async def test_upload_that_does_not_end_well_is_an_error(ends: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await read(upload(b"x" * 100_000, ends=ends))


async def test_upload_that_trickles_in_ends_at_its_deadline() -> None:
    async def receive() -> Any:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(UploadStalled):
        await read(Upload(receive, 10**9, deadline_s=0.05))


async def test_empty_upload_is_refused() -> None:
    with pytest.raises(FileEmpty):
        await upload().head()


@pytest.mark.parametrize(
    ("head", "declared", "kind"),
    [
        (PNG, "image/png", "image/png"),
        (PNG, "", "image/png"),
        (PDF, "application/octet-stream", "application/pdf"),
        (PDF, "Application/PDF; version=1", "application/pdf"),
        (ZIP, DOCX, DOCX),
        (b"a,b\n1,2\n", "text/csv; charset=utf-8", "text/csv"),
        (b'{"a": 1}', "application/json", "application/json"),
        ("é".encode() * HEAD_BYTES, "text/plain", "text/plain"),
        (b"x" * (HEAD_BYTES - 1) + b"\xc3", "text/plain", "text/plain"),
        (b"only words", "", "text/plain"),
    ],
)
def test_type_is_what_is_said_and_seen(head: bytes, declared: str, kind: str) -> None:
    assert media_type(head[:HEAD_BYTES], declared, TYPES) == kind


@pytest.mark.parametrize(
    ("head", "declared"),
    [
        (EXE, "image/png"),
        (EXE, "text/plain"),
        (EXE, ""),
        (EXE, "application/x-msdownload"),
        (b"<html>", "image/png"),
        (b"<html>", "text/html"),
        (b"plain", "application/pdf"),
        (b"\xff\xfe\x00", "text/csv"),
        (b"\xc3", "text/plain"),
        (PNG, "nonsense"),
        (PNG, "image/jpeg"),
    ],
)
def test_type_that_lies_or_is_not_allowed_is_refused(head: bytes, declared: str) -> None:
    with pytest.raises(TypeRefused):
        media_type(head, declared, TYPES)
