"""What comes in: counted, hashed and looked at while it passes, never held as a whole."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator
from typing import Any

from litestar.types import Receive

from camp.files.errors import (
    FileEmpty,
    FileNameInvalid,
    FileTooLarge,
    TypeRefused,
    UploadCut,
    UploadStalled,
)
from camp.files.form import Form

# What tells a type apart is at the beginning; zip based ones are told by their first bytes, too.
HEAD_BYTES = 8192
# Handed on in blocks of this size: each one crosses over into another thread.
BLOCK_BYTES = 1024 * 1024
IDLE_S = 30.0
# However slowly it trickles in, an upload ends: 256 MB in this time are 70 kB/s.
DEADLINE_S = 3600.0
NAME_MAX = 255
# Neither a path, nor what could end a header or a line of a log.
NAME = r"^[^\x00-\x1f\x7f/\\]+$"
UNDECLARED = ("", "application/octet-stream")
TEXTS = ("application/json", "application/xml", "application/x-ndjson")


class Upload:
    """One upload. `head` first, then `blocks`; then `size` (bytes) and `sha256` (hex) are known.

    The body is the file itself, or the `form` that it is in.
    """

    def __init__(
        self,
        receive: Receive,
        max_bytes: int,
        form: Form | None = None,
        *,
        idle_s: float = IDLE_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._form = form
        self._idle_s = idle_s
        self._ends = time.monotonic() + deadline_s
        self._hash = hashlib.sha256()
        self._block = bytearray()
        self._ended = False
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def head(self) -> bytes:
        """The first bytes, as often as asked before `blocks`.

        Raises FileEmpty, FileTooLarge, FormInvalid, UploadStalled, UploadCut.
        """
        while len(self._block) < HEAD_BYTES and not self._ended:
            await self._more()
        if not self._block:
            raise FileEmpty("The file is empty. Send it as the body, or as the part `file`.")
        return bytes(self._block[:HEAD_BYTES])

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Everything from the beginning.

        Raises FileTooLarge, FormInvalid, UploadStalled, UploadCut.
        """
        while self._block or not self._ended:
            while len(self._block) < BLOCK_BYTES and not self._ended:
                await self._more()
            block, self._block = bytes(self._block), bytearray()
            if block:
                yield block

    async def _more(self) -> None:
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise UploadCut("The connection ended before the file did; nothing was kept.")
        body = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        if self._form is not None:
            body = self._form.content(body, last=self._ended)
        self.size += len(body)
        require_size(self.size, self._max_bytes)
        self._hash.update(body)
        self._block += body

    async def _next(self) -> Any:
        left_s = self._ends - time.monotonic()
        if left_s <= 0:
            raise UploadStalled("The upload took too long, and nothing was kept. Send it again.")
        try:
            async with asyncio.timeout(min(left_s, self._idle_s)):
                return await self._receive()
        except TimeoutError:
            raise UploadStalled(
                f"Nothing arrived for {self._idle_s:g} s, and nothing was kept. Send it again."
            ) from None


def require_size(size: int, max_bytes: int) -> None:
    """Raises FileTooLarge."""
    if size > max_bytes:
        raise FileTooLarge(f"A file may have {max_bytes} bytes at the most. Send a smaller one.")


def require_name(name: str | None) -> str:
    """Raises FileNameInvalid."""
    if name is None:
        raise FileNameInvalid("name: it is missing. Add ?name= and what the file is called.")
    if len(name) > NAME_MAX or not re.fullmatch(NAME, name):
        raise FileNameInvalid(
            f"name: it must have 1 to {NAME_MAX} characters, and no slash or control character."
            " Add ?name= and what the file is called."
        )
    return name


def media_type(head: bytes, declared: str, allowed: tuple[str, ...]) -> str:
    """The type of a file that begins with `head`. Raises TypeRefused.

    `declared` is the Content-Type. It must be allowed, and what the bytes look like must not
    contradict it; without one, the bytes alone say it.
    """
    declared = declared.partition(";")[0].strip().lower()
    looks_like = _signatures(head)
    if declared in UNDECLARED:
        told = [kind for kind in (*looks_like, *_plain(head)) if kind in allowed]
        if not told:
            raise _refused("This type of file", allowed)
        return told[0]
    if declared not in allowed:
        raise _refused(f"Content-Type: {declared[:80]!r}", allowed)
    fits = _is_text(head) if _textual(declared) else declared in looks_like
    if not fits:
        raise TypeRefused(
            f"Content-Type says {declared}, and the file does not begin like one."
            " Send the type that it is."
        )
    return declared


def _signatures(head: bytes) -> list[str]:
    """What the first bytes may be the beginning of, the likeliest first."""
    import puremagic

    try:
        return [match.mime_type for match in puremagic.magic_string(head)]
    except puremagic.PureError:
        return []


def _plain(head: bytes) -> tuple[str, ...]:
    return ("text/plain",) if _is_text(head) else ()


def _textual(kind: str) -> bool:
    return kind.startswith("text/") or kind in TEXTS


def _is_text(head: bytes) -> bool:
    """UTF-8 without NUL; its last character may be cut."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        cut = len(head) == HEAD_BYTES and error.start > len(head) - 4
        text = "" if cut else "\x00"
    return "\x00" not in text


def _refused(what: str, allowed: tuple[str, ...]) -> TypeRefused:
    return TypeRefused(f"{what} is not allowed. Allowed are: {', '.join(allowed)}.")
