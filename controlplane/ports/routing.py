"""The edges: written through a key-value store, believed only when they answer."""

from __future__ import annotations

from typing import Protocol

from controlplane.domain.route import Route
from controlplane.domain.routing import EdgeReading, Published, Table


class Routing(Protocol):
    """One environment's routing table on all its edges."""

    async def publish(self, table: Table, epoch: int, route: Route = ...) -> None:
        """Replace the whole table at once. Raises Fenced when a higher epoch wrote, BusUnavailable.

        An emptied store is seeded with this epoch.
        """
        ...

    async def withdraw(self, epoch: int) -> None:
        """Take the environment off its edges for good. Raises as `publish` does."""
        ...

    async def published(self) -> Published | None:
        """What is in the store; None when it was emptied. Raises BusUnavailable."""
        ...

    async def touch(self, route: Route = ...) -> None:
        """Wake edges that have missed a change; nothing changes. Raises BusUnavailable."""
        ...

    async def lacking(self) -> str:
        """What keeps edges from hearing of changes, and the remedy; "" when nothing is known.

        Raises BusUnavailable.
        """
        ...

    async def readings(self, edges: tuple[str, ...]) -> tuple[EdgeReading, ...]:
        """Ask each edge what it serves; one that fails says None. Never raises."""
        ...
