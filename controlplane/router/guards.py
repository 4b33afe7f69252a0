"""Who may use the control API: holders of a token that `camp operator create` made."""

from __future__ import annotations

import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from controlplane.domain.errors import NotAllowed
from controlplane.domain.tokens import token_hash
from controlplane.ports.ledger import Ledger

# A disabled token works for at most this long; a watched rollout spares the database meanwhile.
CACHE_S = 5.0
CACHE_SIZE = 256


def operator_guard(ledger: Ledger) -> Guard:
    """A guard that puts the operator's name into `request.user`.

    A function, because Litestar copies guards deeply and would copy the ledger with them.
    """
    operators = Operators(ledger)

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        authorization = connection.headers.get("authorization", "")
        connection.scope["user"] = await operators.named(authorization)

    return guard


class Operators:
    """Who is behind a token, remembered for a moment."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, tuple[str, float]] = {}

    async def named(self, authorization: str) -> str:
        """The operator of an Authorization header. Raises NotAllowed."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAllowed(
                "The control API needs a token: send 'Authorization: Bearer TOKEN'; "
                "camp operator create NAME makes one."
            )
        return await self._operator(token_hash(token.strip()))

    async def _operator(self, hashed: str) -> str:
        name, until = self._known.get(hashed, ("", 0.0))
        if time.monotonic() < until:
            return name
        found = await self._ledger.operator(hashed)
        if found is None:
            raise NotAllowed(
                "The token is not known or is disabled; camp operator create NAME makes a new one."
            )
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        self._known[hashed] = (found, time.monotonic() + CACHE_S)
        return found
