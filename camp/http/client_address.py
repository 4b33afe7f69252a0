"""Whose address a request comes from, when proxies stand in between."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNKNOWN = "unknown"
# Providers hand out no less: one subscriber has all of its addresses.
IPV6_PREFIX = 64
# 198.51.100.1:51234, [2001:db8::1]:51234, [2001:db8::1]
_WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):\d{1,5}|\[(?P<v6>[^]]+)\](:\d{1,5})?")


class Peers:
    """Believes X-Forwarded-For only as far as it was written by trusted proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(cidr) for cidr in trusted)

    def address(self, scope: Any) -> str:
        """The nearest address that is no trusted proxy's; `unknown` over a Unix socket."""
        client = scope.get("client")
        peer = _parsed(str(client[0])) if client else None
        if peer is None:
            return str(client[0]) if client else UNKNOWN
        if not self._trusted or not self._trusts(peer):
            return str(peer)
        # Each proxy appends whom it heard from: read from the end, up to the first stranger.
        nearest = peer
        for hop in reversed(_forwarded(scope)):
            parsed = _parsed(hop)
            if parsed is None:
                break
            nearest = parsed
            if not self._trusts(parsed):
                break
        return str(nearest)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def who_pays(address: str) -> str:
    """What an address is counted by: itself, or the IPv6 network that one subscriber has."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed), IPV6_PREFIX), strict=False))
    return address


def _forwarded(scope: Any) -> list[str]:
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for hop in b",".join(values).decode("latin-1").split(",")]


def _parsed(text: str) -> Address | None:
    """An address with or without a port; IPv4 in IPv6's clothes is IPv4. None: no address."""
    text = text.strip('"')
    with_port = _WITH_PORT.fullmatch(text)
    try:
        found = ipaddress.ip_address((with_port["v4"] or with_port["v6"]) if with_port else text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
