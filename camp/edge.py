"""What every response carries: headers that keep browsers safe, and gzip where it pays."""

import gzip
from collections.abc import Sequence

from litestar.types import Message

Headers = Sequence[tuple[bytes, bytes]]

GZIP_LEVEL = 5
GZIP_MIN_BYTES = 1024
# Packing this much takes some 10 ms; more would hold up every other request of the process.
GZIP_MAX_BYTES = 512_000
_PACKED_WELL = (b"application/json", b"application/problem+json", b"application/vnd.oai", b"text/")
_API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
# Swagger UI sets styles on its elements and draws its icons from data: URLs.
_DOCS_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
DOCS_PATH = "/docs"


class SecurityHeaders:
    """The headers of an environment; they cost one look at the path per request."""

    def __init__(self, environment: str) -> None:
        common = [
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        if environment == "production":
            common.append((b"strict-transport-security", b"max-age=31536000"))
        self._api = (*common, (b"content-security-policy", _API_POLICY))
        self._docs = (*common, (b"content-security-policy", _DOCS_POLICY))

    def of(self, path: str) -> Headers:
        """The headers of a response to `path`."""
        return self._docs if path.startswith(DOCS_PATH) else self._api


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
