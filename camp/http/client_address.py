"""Whose address a request comes from, when proxies stand in between."""

import ipaddress
from collections.abc import Iterable
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNKNOWN = "unknown"


class Peers:
    """Believes X-Forwarded-For only as far as it was written by trusted proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(cidr) for cidr in trusted)

    def address(self, scope: Any) -> str:
        """The nearest address that is no trusted proxy's; `unknown` over a Unix socket."""
        client = scope.get("client")
        address = str(client[0]) if client else UNKNOWN
        if not self._trusted or not self._trusts(address):
            return address
        # Each proxy appends whom it heard from: read from the end, up to the first stranger.
        for hop in reversed(_forwarded(scope)):
            if not _is_address(hop):
                break
            address = hop
            if not self._trusts(hop):
                break
        return address

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._trusted)


def _forwarded(scope: Any) -> list[str]:
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for hop in b",".join(values).decode("latin-1").split(",")]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
