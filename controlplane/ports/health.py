"""Asking an instance itself, at its own address."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from controlplane.domain.model import Spec


@dataclass(frozen=True, slots=True)
class Probe:
    """What an instance said of itself; spec is None when nothing answered.

    `draining`: it takes no more traffic and never will again.
    """

    ready: bool
    spec: Spec | None = None
    streams: int = 0
    requests: int = 0
    detail: str = ""
    draining: bool = False


class Health(Protocol):
    """Short calls to instances. None raises: an unreachable instance is an answer.

    Of several at once a limited number is asked at a time, and one that hangs delays no other.
    """

    async def probe(self, address: str) -> Probe:
        """Readiness, identity, running streams and requests; bounded by a second."""
        ...

    async def probe_all(self, addresses: Collection[str]) -> dict[str, Probe]:
        """What each address answers."""
        ...

    async def drain(self, address: str, deadline_s: float) -> None:
        """Ask the instance to let its streams end within the deadline; repeatable."""
        ...

    async def drain_all(self, deadlines_s: Mapping[str, float]) -> None:
        """Ask each address to let its streams end within its deadline."""
        ...
