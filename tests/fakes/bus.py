"""Nudges on a fake Redis."""

from __future__ import annotations

from tests.fakes.redis import FakeRedis


class FakeBus:
    """Remembers nudges; time passes only in the simulation.

    `wait` answers at once whether a nudge was remembered. Who drives the coroutine may hold it at
    the point "bus.wait": `waiting_s` then says how long it is willing to wait (None: not waiting).
    """

    def __init__(self, redis: FakeRedis, topics: tuple[str, ...] = ()) -> None:
        self._redis = redis
        self._point = redis.world.point
        self.topics = topics
        self.nudged = False
        self.waiting_s: float | None = None
        for topic in topics:
            redis.listen(topic, self)

    async def nudge(self, *topics: str) -> None:
        await self._point("bus.nudge")
        if not self._redis.down:
            for topic in topics:
                self._redis.deliver(topic)
        await self._point("bus.nudge.done")

    async def wait(self, timeout_s: float) -> bool:
        self.waiting_s = timeout_s
        await self._point("bus.wait")
        self.waiting_s = None
        nudged, self.nudged = self.nudged, False
        await self._point("bus.wait.done")
        return nudged

    def close(self) -> None:
        """Stop listening: the process that owned this bus is gone."""
        for topic in self.topics:
            self._redis.unlisten(topic, self)
