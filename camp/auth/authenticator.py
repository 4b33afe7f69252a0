"""Who is calling: a bearer token becomes a principal, or the request ends with 401."""

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from camp.auth.identity import CHECKS, Identity, Principal, UserRole
from camp.config.settings import Settings
from camp.errors import Unauthorized

if TYPE_CHECKING:
    from camp.auth.entra import EntraTokens

# One look-up in a while is enough, and spares the pool. A role that another instance has changed
# is as old as this at the most.
CACHE_S = 30.0
# Some 6 MB; in a larger crowd whoever was looked up first is forgotten first.
KNOWN_MAX = 10_000


class _Seen(msgspec.Struct, frozen=True):
    """Whom a subject turned out to be, with a token that named these roles."""

    principal: Principal
    roles: frozenset[str]
    until_s: float


DEV_IDENTITY = Identity(
    "dev-user", "dev@example.invalid", "Developer", frozenset({UserRole.SYSTEM_ADMIN})
)
EnsureUser = Callable[[Identity], Awaitable[Principal]]
"""Finds the user of an identity, making the row on the first visit; its role follows the token."""


class Authenticator:
    """Verifies bearer tokens by the mode in the settings."""

    def __init__(
        self, settings: Settings, ensure_user: EnsureUser, known_max: int = KNOWN_MAX
    ) -> None:
        self._tokens = _production_tokens(settings)
        self._mock_token = settings.dev_mock_token.encode()
        self._smoke_token = (settings.camp_smoke_token or "").encode()
        self._ensure_user = ensure_user
        self._seen: dict[str, _Seen] = {}
        self._known_max = known_max

    async def principal(self, authorization: str | None) -> Principal:
        """The principal of an Authorization header; raises Unauthorized.

        Raises SignInUnavailable while the keys that sign tokens cannot be had.
        """
        identity = await self._identity(bearer_token(authorization))
        seen = self._seen.get(identity.subject)
        if seen and seen.roles == identity.roles and time.monotonic() < seen.until_s:
            return seen.principal
        principal = await self._ensure_user(identity)
        until_s = time.monotonic() + CACHE_S
        self._seen.pop(identity.subject, None)  # so that the order is that of the look-ups
        self._seen[identity.subject] = _Seen(principal, identity.roles, until_s)
        if len(self._seen) > self._known_max:
            del self._seen[next(iter(self._seen))]
        return principal

    def learn(self, principal: Principal) -> None:
        """Take the role of somebody who is known already from here, without a look-up."""
        seen = self._seen.get(principal.subject)
        if seen is not None:
            self._seen[principal.subject] = msgspec.structs.replace(seen, principal=principal)

    async def close(self) -> None:
        """End what verifying began."""
        if self._tokens is not None:
            await self._tokens.close()

    async def _identity(self, token: str) -> Identity:
        if self._smoke_token and hmac.compare_digest(token.encode(), self._smoke_token):
            return CHECKS
        if self._tokens is not None:
            return await self._tokens.identity(token)
        if not hmac.compare_digest(token.encode(), self._mock_token):
            raise Unauthorized("The bearer token is not valid.")
        return DEV_IDENTITY


def _production_tokens(settings: Settings) -> "EntraTokens | None":
    """What verifies tokens in production; cryptography is imported only there."""
    if settings.auth_mode != "production":
        return None
    from camp.auth.entra import EntraTokens

    return EntraTokens(settings)


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization: Bearer` header; raises Unauthorized."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send your token in the header 'Authorization: Bearer TOKEN'.")
    return token.strip()


async def require_user(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: puts the principal into `request.user`, before the body is looked at."""
    authenticator: Authenticator = connection.app.state.authenticator
    principal = await authenticator.principal(connection.headers.get("authorization"))
    connection.scope["user"] = principal
