"""What lies between one host and PostgreSQL, and a PostgreSQL that can go back in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controlplane.domain.errors import StoreUnavailable
from controlplane.domain.goals import HostDesired
from controlplane.domain.records import Changes, Snapshot
from controlplane.domain.reports import HostReport
from tests.fakes.store import FakeStore

# What a commit writes, and so what is lost with it.
PARTS = ("rollout", "slots", "hosts", "table", "jobs", "schema", "environment", "issued", "led_at")


@dataclass(slots=True)
class Link:
    """The store as one host reaches it; `down` cuts off this host and no other."""

    store: FakeStore
    down: bool = False

    def _reached(self) -> FakeStore:
        if self.down:
            raise StoreUnavailable("PostgreSQL did not answer: it is out of reach from here.")
        return self.store

    async def claim_epoch(self, holder: str, seen: int) -> bool:
        return await self._reached().claim_epoch(holder, seen)

    async def epoch(self) -> int:
        return await self._reached().epoch()

    async def led(self, epoch: int) -> bool:
        return await self._reached().led(epoch)

    async def observe(self) -> Snapshot:
        return await self._reached().observe()

    async def commit(self, epoch: int, holder: str, seen: Snapshot, changes: Changes) -> None:
        await self._reached().commit(epoch, holder, seen, changes)

    async def sweep(self, epoch: int, holder: str) -> int:
        return await self._reached().sweep(epoch, holder)

    async def claim(self, host: str, agent: str) -> str:
        return await self._reached().claim(host, agent)

    async def tell(self, events: tuple[tuple[str, str], ...]) -> None:
        await self._reached().tell(events)

    async def desired(self, host: str) -> HostDesired | None:
        return await self._reached().desired(host)

    async def report(self, report: HostReport) -> bool:
        return await self._reached().report(report)


@dataclass(slots=True)
class Past:
    """States of the store before its last commits; `go_back` takes it to one of them."""

    store: FakeStore
    states: list[dict[str, Any]] = field(default_factory=list)

    def remember(self) -> None:
        """Keep the state as it is now, a copy one level deep: parts are frozen."""
        parts = {name: getattr(self.store, name) for name in PARTS}
        copies = {n: dict(p) if isinstance(p, dict) else p for n, p in parts.items()}
        self.states = [*self.states[-40:], copies]

    def go_back(self, commits: int, epochs: int) -> bool:
        """Lose the last commits, and everything since before the last `epochs` were issued."""
        wanted = self.store.issued - epochs
        fit = [s for s in self.states if s["issued"] <= wanted]
        if not fit:
            return False
        for name, part in fit[-min(commits, len(fit))].items():
            setattr(self.store, name, dict(part) if isinstance(part, dict) else part)
        self.store._goals = None
        self.store._desired.clear()
        self.states.clear()
        return True
