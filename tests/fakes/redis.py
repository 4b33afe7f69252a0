"""A Redis that lives in virtual time: keys with expiry, nudges, and ways to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from controlplane.domain.errors import BusUnavailable
from tests.fakes.world import World

if TYPE_CHECKING:
    from tests.fakes.bus import FakeBus


def once(_topic: str) -> int:
    return 1


def ignore(_topic: str) -> None:
    return None


class FakeRedis:
    """One server for all fakes of lease, bus and routing.

    `down`: every command raises BusUnavailable; keys stay, as after a network cut.
    `copies(topic)`: how often a nudge arrives (0 loses it, 2 doubles it).
    `on_nudge(topic)`: called once for each copy that arrives, before the buses remember it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.down = False
        self.copies: Callable[[str], int] = once
        self.on_nudge: Callable[[str], None] = ignore
        self._keys: dict[str, tuple[Any, float | None]] = {}
        self._listeners: dict[str, list[FakeBus]] = {}

    def check(self) -> None:
        """Raise BusUnavailable while the server is down."""
        if self.down:
            raise BusUnavailable("Redis did not answer; start it again and retry.")

    def get(self, key: str) -> Any:
        """The value, or None when it is missing or has expired; looks even when down."""
        found = self._keys.get(key)
        if found is None:
            return None
        value, expires = found
        if expires is not None and expires <= self.world.now:
            del self._keys[key]
            return None
        return value

    def put(self, key: str, value: Any, ttl_s: float | None = None) -> None:
        self._keys[key] = (value, None if ttl_s is None else self.world.now + ttl_s)

    def delete(self, key: str) -> None:
        self._keys.pop(key, None)

    def empty(self) -> None:
        """Forget every key, as a restart without persistence does."""
        self._keys.clear()

    def listen(self, topic: str, bus: FakeBus) -> None:
        self._listeners.setdefault(topic, []).append(bus)

    def unlisten(self, topic: str, bus: FakeBus) -> None:
        listeners = self._listeners.get(topic, [])
        if bus in listeners:
            listeners.remove(bus)

    def deliver(self, topic: str) -> None:
        """Hand a nudge to whoever listens, as often as `copies` says."""
        for _ in range(self.copies(topic)):
            self.on_nudge(topic)
            for bus in self._listeners.get(topic, ()):
                bus.nudged = True
