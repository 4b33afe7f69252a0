"""The edges: written through a key-value store, believed only when they answer."""

from __future__ import annotations

from typing import Protocol

from controlplane.domain.routing import EdgeReading, Published, Table


class Routing(Protocol):
    """One environment's routing table on all its edges."""

    async def publish(self, table: Table, epoch: int) -> None:
        """Replace the whole table at once. Raises Fenced when a higher epoch wrote, BusUnavailable.

        An emptied store is seeded with this epoch.
        """
        ...

    async def published(self) -> Published | None:
        """What is in the store; None when the store was emptied. Raises BusUnavailable."""
        ...

    async def readings(self, edges: tuple[str, ...]) -> tuple[EdgeReading, ...]:
        """Ask each edge which revision it serves; one that fails says None. Never raises."""
        ...
