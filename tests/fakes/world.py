"""The ground all fakes stand on: virtual time, and places where a simulation may interfere."""

from __future__ import annotations

from collections.abc import Callable


class World:
    """Virtual time in seconds; `point` is awaited by every fake before and after an effect.

    Here it does nothing. The simulation's world yields to its scheduler there, so that it can
    interleave, delay, crash or fail the caller.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    async def point(self, name: str) -> None:
        """A place named `name` ("store.commit", "runtime.start", ...)."""

    def monotonic(self) -> float:
        return self.now


class StrikingWorld(World):
    """A world in which something happens at a named point: `strikes["store.commit"]`."""

    def __init__(self, now: float = 0.0) -> None:
        super().__init__(now)
        self.strikes: dict[str, Callable[[], None]] = {}

    async def point(self, name: str) -> None:
        if strike := self.strikes.get(name):
            strike()
