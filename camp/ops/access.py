"""Who may use the routes for those who run the service: nobody behind an edge."""

import hmac
import ipaddress
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from camp.auth.authenticator import bearer_token
from camp.errors import Forbidden, Unauthorized

# Whatever an edge passes on carries at least one of them, and a client cannot take them away.
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")

Connection = ASGIConnection[Any, Any, Any, Any]


def require_direct(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: no proxy stands in between; of several instances it would choose any."""
    if any(name in connection.headers for name in FORWARDED):
        raise Forbidden(
            "This is not for callers behind an edge: ask this instance itself, at its own address."
        )


def require_agent(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: the agent's token, always when there is one; else a caller on this machine."""
    token: str | None = connection.app.state.settings.camp_agent_token
    if token is None:
        client = connection.client
        if client is None or not _is_loopback(client.host):
            raise Forbidden(
                "Only this host's agent may drain: call over loopback, or set CAMP_AGENT_TOKEN for"
                " agent and instances."
            )
        return
    given = bearer_token(connection.headers.get("authorization"))
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Unauthorized("The agent token is not valid. Send this host's CAMP_AGENT_TOKEN.")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
