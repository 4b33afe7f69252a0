"""Who may use the control API: holders of a token that `camp operator create` made."""

from __future__ import annotations

import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from controlplane.domain.errors import NotAllowed
from controlplane.domain.tokens import token_hash
from controlplane.ports.ledger import Ledger

# A disabled token works for at most this long; a watched rollout spares the database meanwhile.
CACHE_S = 5.0
CACHE_SIZE = 256


class OperatorGuard:
    """Puts the operator's name into `request.user`. Raises NotAllowed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, tuple[str, float]] = {}

    def __deepcopy__(self, _: dict[int, object]) -> OperatorGuard:
        """Itself: Litestar copies routers as it registers them, and an engine cannot be copied."""
        return self

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        scheme, _space, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAllowed(
                "The control API needs a token: send 'Authorization: Bearer TOKEN'; "
                "camp operator create NAME makes one."
            )
        connection.scope["user"] = await self._operator(token_hash(token.strip()))

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
