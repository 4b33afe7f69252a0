"""Headers that every response carries to keep browsers safe."""

from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

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
