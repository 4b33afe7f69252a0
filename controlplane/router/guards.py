"""Who may use the control API: holders of a token that `camp operator create` made."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from camp.http.local_counts import LocalCounts
from controlplane.domain.errors import NotAllowed, TooManyFailures
from controlplane.domain.tokens import is_token, token_hash
from controlplane.router.control import Control

# A disabled token works for at most this long; a watched rollout spares the database meanwhile.
CACHE_S = 5.0
# Who was known this recently is looked up again, whatever strangers at the same address try.
KNOWN_S = 3600.0
CACHE_SIZE = 256
# A token that is not known never will be: they are made at random.
UNKNOWN_S = 60.0
UNKNOWN_SIZE = 1024
# Look-ups of unknown tokens for one caller in a window.
FAILURES_MAX = 30
WINDOW_S = 60
UNKNOWN = "The token is not known or is disabled; camp operator create NAME makes a new one."

LookUp = Callable[[str], Awaitable[str | None]]
"""The operator behind a token's hash, or None."""


def operator_guard(control: Control) -> Guard:
    """A guard that puts the operator's name into `request.user`.

    A function, because Litestar copies guards deeply and would copy the ledger with them.
    """
    operators = Operators(control.ledger.operator)

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        authorization = connection.headers.get("authorization", "")
        caller = control.caller(connection.scope)
        connection.scope["user"] = await operators.named(authorization, caller)

    return guard


class Operators:
    """Who is behind a token, remembered for a moment; strangers cost a bounded number of queries.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, look_up: LookUp, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}
        self._unknown: dict[str, float] = {}
        self._failures = LocalCounts()

    async def named(self, authorization: str, caller: str) -> str:
        """The operator of an Authorization header. Raises NotAllowed, TooManyFailures."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAllowed(
                "The control API needs a token: send 'Authorization: Bearer TOKEN'; "
                "camp operator create NAME makes one."
            )
        if not is_token(token.strip()):
            raise NotAllowed(UNKNOWN)
        return await self._operator(token_hash(token.strip()), caller)

    async def _operator(self, hashed: str, caller: str) -> str:
        now = self._clock()
        name, seen_at = self._known.get(hashed, ("", -KNOWN_S))
        if now < seen_at + CACHE_S:
            return name
        if now < self._unknown.get(hashed, 0.0):
            raise NotAllowed(UNKNOWN)
        window = int(now // WINDOW_S)
        if now >= seen_at + KNOWN_S and self._failures.of(caller, window) >= FAILURES_MAX:
            raise TooManyFailures(
                f"{FAILURES_MAX} unknown tokens came from {caller} within {WINDOW_S} s. "
                "Try again in a minute; behind an edge, set TRUSTED_PROXIES to tell callers apart."
            )
        # Before the answer: who asks for many at once would be through before the first one.
        self._failures.add(caller, window)
        try:
            found = await self._look_up(hashed)
        except BaseException:
            self._failures.forgive(caller, window)
            raise
        if found is None:
            self._known.pop(hashed, None)
            _remember(self._unknown, hashed, now + UNKNOWN_S, UNKNOWN_SIZE)
            raise NotAllowed(UNKNOWN)
        self._failures.forgive(caller, window)
        _remember(self._known, hashed, (found, self._clock()), CACHE_SIZE)
        return found


def _remember(memory: dict[str, Any], key: str, value: Any, size: int) -> None:
    """Keep it; of too many the oldest goes."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > size:
        del memory[next(iter(memory))]
