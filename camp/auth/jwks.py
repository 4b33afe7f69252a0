"""The public keys an issuer signs its tokens with: fetched when needed, kept for a while."""

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx
import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from camp.errors import SignInUnavailable

log = structlog.get_logger("camp.auth.jwks")

FETCH_TIMEOUT_S = 3.0
# Issuers announce a new key a day or more before they sign with it.
FRESH_S = 3600.0
# While the issuer is down its keys go on serving, but not for ever: one may have been revoked.
STALE_MAX_S = 86_400.0
# Anybody can send a key id that nobody knows: this bounds what that costs the issuer.
REFETCH_MIN_S = 30.0
# Without any key nobody can come in: worth asking more often.
FIRST_FETCH_MIN_S = 1.0


class KeySet:
    """The RSA keys at a JWKS URL by key id; one fetch at a time, however many callers wait."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> PyJWK | None:
        """The key, None when the issuer has none of this id.

        Raises SignInUnavailable while there are no keys, or only keys older than STALE_MAX_S.
        """
        age_s = self._age_s()
        found = self._keys.get(key_id) if age_s < STALE_MAX_S else None
        if found is None or age_s >= FRESH_S:
            self._refetch()
        if found is None and self._fetching is not None:
            # Shielded: a client that goes away must not end what others wait for.
            await asyncio.shield(self._fetching)
        if self._age_s() >= STALE_MAX_S:
            raise SignInUnavailable(
                "The keys that sign tokens cannot be fetched now. Repeat the request in a moment."
            )
        return found or self._keys.get(key_id)

    async def close(self) -> None:
        """End a fetch in hand."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _age_s(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _refetch(self) -> None:
        """Begin a fetch, unless one runs or the last one was just now."""
        pause_s = REFETCH_MIN_S if self._keys else FIRST_FETCH_MIN_S
        recent = self._tried_at is not None and self._clock() - self._tried_at < pause_s
        if self._fetching is None and not recent:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._end)

    def _end(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            # Not only httpx's limits, which begin anew with each byte.
            async with asyncio.timeout(FETCH_TIMEOUT_S), httpx.AsyncClient() as client:
                answer = await client.get(self._url)
            if answer.status_code != HTTPStatus.OK:
                raise ValueError(f"status {answer.status_code}")
            keys = _parsed(answer.content)
        except (httpx.HTTPError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("token keys", fetched=False, cause=repr(error))
            return
        self._keys, self._fetched_at = keys, self._clock()


def _parsed(body: bytes) -> dict[str, PyJWK]:
    """The usable keys of a JWKS; raises ValueError when there are none."""
    document = json.loads(body)
    items = document.get("keys") if isinstance(document, dict) else None
    keys = {}
    for item in items if isinstance(items, list) else ():
        key = _key(item)
        if key is not None and key.key_id:
            keys[key.key_id] = key
    if not keys:
        raise ValueError("no RSA key in the answer")
    return keys


def _key(item: Any) -> PyJWK | None:
    """One key; None when it is not for RS256 signatures, or broken."""
    if not isinstance(item, dict) or item.get("use", "sig") != "sig":
        return None
    try:
        return PyJWK.from_dict(item, "RS256")
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
