"""Access tokens of Entra ID: who signed them, for whom, until when, and who the bearer is."""

from typing import Any

import jwt
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from camp.auth.identity import CHECKS, Identity
from camp.auth.jwks import KeySet
from camp.config.settings import Settings
from camp.errors import TokenExpired, TokenInvalid

AUTHORITY = "https://login.microsoftonline.com"
AUTHORITY_V1 = "https://sts.windows.net"
# The only one that Entra signs with; a list that a token could choose from is how HS256 gets in.
ALGORITHM = "RS256"
LEEWAY_S = 30
NAME_MAX_CHARS = 200
NONE: frozenset[str] = frozenset()
SIGN_IN = "Sign in again and send the new access token."


class EntraTokens:
    """Verifies the tokens of one directory for one audience."""

    def __init__(self, settings: Settings, keys: KeySet | None = None) -> None:
        tenant = settings.entra_tenant_id
        self._tenant = tenant
        self._audience = settings.entra_audience
        # Which version a token is of is set at the API's registration, not by who asks for it.
        own = (f"{AUTHORITY}/{tenant}/v2.0", f"{AUTHORITY_V1}/{tenant}/")
        self._issuers = settings.entra_issuer or own
        self._scope = settings.entra_required_scope
        self._roles = frozenset(settings.entra_required_roles)
        url = settings.entra_jwks_url or f"{AUTHORITY}/{tenant}/discovery/v2.0/keys"
        self._keys = keys or KeySet(url)

    async def identity(self, token: str) -> Identity:
        """Who the bearer is. Raises TokenInvalid, TokenExpired, SignInUnavailable."""
        key = await self._keys.find(_key_id(token))
        if key is None:
            raise TokenInvalid(f"The token is signed with a key that its issuer lacks. {SIGN_IN}")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuers,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except ExpiredSignatureError:
            raise TokenExpired(f"The token has expired. {SIGN_IN}") from None
        # A number in `exp` that is no time overflows instead of being refused.
        except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = str(error).rstrip(".") if isinstance(error, PyJWTError) else "It is malformed"
            raise TokenInvalid(f"The token is not valid: {reason}. {SIGN_IN}") from None
        if claims.get("tid") != self._tenant:
            raise TokenInvalid(f"The token is of another directory. {SIGN_IN}")
        self._require_access(claims)
        return _identity(claims)

    def _require_access(self, claims: dict[str, Any]) -> None:
        """Not every token that the directory signs for us is meant to open the API."""
        if _is_id_token(claims):
            raise TokenInvalid(
                "This is an ID token: it tells your application who you are, and opens no API."
                f" Ask for an access token with the scope {self._scope}, and send that."
            )
        scopes = claims.get("scp")
        scoped = isinstance(scopes, str) and self._scope in scopes.split()
        if not scoped and not self._roles & _roles(claims):
            or_role = f" and none of the app roles {', '.join(sorted(self._roles))}"
            raise TokenInvalid(
                f"The token lacks the scope {self._scope}{or_role if self._roles else ''}."
                " Ask for an access token with it, and send that."
            )

    async def close(self) -> None:
        """End a fetch of keys in hand."""
        await self._keys.close()


def _key_id(token: str) -> str:
    """The id of the key that signed the token; nothing in it is verified yet."""
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise TokenInvalid(f"The token is not a JSON Web Token. {SIGN_IN}") from None
    if header.get("alg") != ALGORITHM or not isinstance(header.get("kid"), str):
        raise TokenInvalid(f"The token is not signed with {ALGORITHM} and a `kid`. {SIGN_IN}")
    return str(header["kid"])


def _identity(claims: dict[str, Any]) -> Identity:
    subject = _text(claims, "oid", "sub")
    if not subject or subject == CHECKS.subject:
        raise TokenInvalid(f"The token does not say whose it is: it has no `oid`. {SIGN_IN}")
    email = _text(claims, "email", "preferred_username", "upn")
    return Identity(subject, email, _text(claims, "name") or email or subject, _roles(claims))


def _is_id_token(claims: dict[str, Any]) -> bool:
    """Access tokens name the application that asked for them (v2: `azp`, v1: `appid`).

    ID tokens never do; what binds them to one sign-in is in no access token.
    """
    asked_by = claims.get("azp") or claims.get("appid")
    return not asked_by or any(name in claims for name in ("nonce", "at_hash", "c_hash"))


def _roles(claims: dict[str, Any]) -> frozenset[str]:
    roles = claims.get("roles")
    return frozenset(r for r in roles if isinstance(r, str)) if isinstance(roles, list) else NONE


def _text(claims: dict[str, Any], *names: str) -> str:
    """The first of these claims that has text, as PostgreSQL can store it; or nothing."""
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value.replace("\0", "").encode(errors="replace").decode()[:NAME_MAX_CHARS]
    return ""
