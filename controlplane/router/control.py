"""What the router is given: it opens nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from litestar.types import Scope

from controlplane.ports.bus import Bus
from controlplane.ports.lease import Lease
from controlplane.ports.ledger import Ledger
from controlplane.ports.logs import Logs
from controlplane.ports.routing import Routing
from controlplane.ports.store import Store


class EventStreams(Protocol):
    """The serving process's drain: streams count themselves and end when `draining` is set."""

    draining: asyncio.Event

    def event_stream(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Control:
    """The ports behind the API; all but the ledger are per environment.

    `bus` sends nudges; `listener` opens a bus that is woken by the topic "events"; `caller` names
    where a request comes from.
    """

    ledger: Ledger
    streams: EventStreams
    store: Callable[[str], Store]
    lease: Callable[[str], Lease]
    bus: Callable[[str], Bus]
    listener: Callable[[str], AbstractAsyncContextManager[Bus]]
    logs: Callable[[str], Logs]
    caller: Callable[[Scope], str]
    routing: Callable[[str], AbstractAsyncContextManager[Routing]]

    async def nudge(self, environment: str) -> None:
        """Tell the leader and all event streams that something was written."""
        await self.bus(environment).nudge("leader", "events")
