"""Gzip where it pays: text of a size that gains, and that is not packed yet."""

import gzip

from litestar.types import Message

from camp.http.headers import Headers

GZIP_LEVEL = 5
GZIP_MIN_BYTES = 1024
# Packing this much takes some 10 ms; more would hold up every other request of the process.
GZIP_MAX_BYTES = 512_000
_PACKED_WELL = (b"application/json", b"application/problem+json", b"application/vnd.oai", b"text/")


def worth_packing(headers: Headers) -> bool:
    """Whether a response is text of a size that gains; never a stream, nor what is packed.

    A response with an ETag is left alone: the tag names these very bytes.
    """
    kind, size = b"", 0
    for name, value in headers:
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            size = int(value)
        elif name in {b"content-encoding", b"etag"}:
            return False
    return GZIP_MIN_BYTES <= size <= GZIP_MAX_BYTES and kind.startswith(_PACKED_WELL)


def pack(start: Message, body: bytes) -> bytes:
    """The gzipped body, with the headers of `start` put right."""
    packed = gzip.compress(body, GZIP_LEVEL, mtime=0)
    assert start["type"] == "http.response.start"
    kept = [header for header in start["headers"] if header[0] != b"content-length"]
    start["headers"] = [
        *kept,
        (b"content-length", str(len(packed)).encode()),
        (b"content-encoding", b"gzip"),
        (b"vary", b"accept-encoding"),
    ]
    return packed
