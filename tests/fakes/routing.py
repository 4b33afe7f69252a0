"""Edges that follow a fake Redis in virtual time, and the routing that writes to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from controlplane.domain.errors import Fenced, Stale
from controlplane.domain.route import EVERYTHING, Route
from controlplane.domain.routing import EdgeReading, Published, Table
from tests.fakes.redis import FakeRedis
from tests.fakes.world import World


class FakeEdge:
    """One edge; it serves a new table `delay_s` after the table was written.

    Like the real one it keeps its last table when Redis is gone or emptied. `down`: its API does
    not answer, traffic still flows by `table`. `stuck`: it does not follow; once it is free again
    it follows the newest table after `delay_s`. `deaf`: it hears of no change until it is woken.
    `dead`: it answers nothing and serves nobody, and never will. `unreachable` are addresses that
    it cannot reach.
    """

    def __init__(self, world: World, name: str, delay_s: float = 0.0) -> None:
        self._world = world
        self.name = name
        self.delay_s = delay_s
        self.down = False
        self.dead = False
        self.deaf = False
        self.unreachable: frozenset[str] = frozenset()
        self._missed: Table | None = None
        self._stuck = False
        self._table: Table | None = None
        self._pending: deque[tuple[float, Table | None]] = deque()

    @property
    def table(self) -> Table | None:
        """What traffic follows right now; None before the first table."""
        if self.dead:
            return None
        if self._pending and not self._stuck:
            self._follow()
        return self._table

    @property
    def stuck(self) -> bool:
        return self._stuck

    @stuck.setter
    def stuck(self, stuck: bool) -> None:
        if stuck and not self._stuck:
            self._follow()
        if self._stuck and not stuck and self._pending:
            newest = self._pending[-1][1]
            self._pending.clear()
            self._pending.append((self._world.now + self.delay_s, newest))
        self._stuck = stuck

    def _follow(self) -> None:
        pending = self._pending
        while pending and pending[0][0] <= self._world.now:
            self._table = pending.popleft()[1]

    def offer(self, table: Table | None) -> None:
        """A table was written to the store that this edge watches, or removed from it."""
        if self.deaf:
            self._missed = table
            return
        self._pending.append((self._world.now + self.delay_s, table))

    def wake(self) -> None:
        """A key was touched: the edge looks again."""
        missed, self._missed = self._missed, None
        if missed is not None:
            self._pending.append((self._world.now + self.delay_s, missed))

    def reading(self) -> EdgeReading:
        if self.down or self.dead:
            return EdgeReading(self.name, None, "the edge does not answer")
        table = self.table
        if table is None:
            return EdgeReading(self.name, None, "the edge has no table of this environment")
        servers = table.addresses
        return EdgeReading(self.name, table.revision, "", servers, servers & self.unreachable)


class FakeRouting:
    """One environment's table in a fake Redis, fenced by epoch.

    `on_publish(revision, epoch)` is called for each table that took effect.
    """

    def __init__(
        self, redis: FakeRedis, edges: Sequence[FakeEdge], environment: str = "local"
    ) -> None:
        self._redis = redis
        self._point = redis.world.point
        self.edges = tuple(edges)
        self.lacks = ""
        self.on_publish: Callable[[int, int], None] = lambda revision, epoch: None
        self._epoch_key = f"camp:{environment}:routing:epoch"
        self._revision_key = f"camp:{environment}:routing:revision"
        self._table_key = f"camp:{environment}:routing:table"

    async def publish(self, table: Table, epoch: int, route: Route = EVERYTHING) -> None:
        await self._point("routing.publish")
        self._redis.check()
        self._fence(table, epoch)
        self._redis.put(self._epoch_key, epoch)
        self._redis.put(self._revision_key, table.revision)
        self._redis.put(self._table_key, table)
        self.on_publish(table.revision, epoch)
        for edge in self.edges:
            edge.offer(table)
        await self._point("routing.publish.done")

    def _fence(self, table: Table, epoch: int) -> None:
        written: int = self._redis.get(self._epoch_key) or 0
        if written > epoch:
            raise Fenced(f"Routing was written in epoch {written}, ours is {epoch}: step down.")
        if written == epoch and table.revision < (self._redis.get(self._revision_key) or 0):
            raise Stale("A newer table of this epoch is in place; look again.")

    async def published(self) -> Published | None:
        await self._point("routing.published")
        self._redis.check()
        revision: int | None = self._redis.get(self._revision_key)
        epoch: int = self._redis.get(self._epoch_key) or 0
        whole = revision is not None and self._redis.get(self._table_key) is not None
        await self._point("routing.published.done")
        if revision is None and not epoch:
            return None
        return Published(epoch, revision or 0, whole)

    async def withdraw(self, epoch: int) -> None:
        await self._point("routing.withdraw")
        self._redis.check()
        written: int = self._redis.get(self._epoch_key) or 0
        if written > epoch:
            raise Fenced(f"Routing was written in epoch {written}, ours is {epoch}: step down.")
        self._redis.delete(self._revision_key)
        self._redis.delete(self._table_key)
        self._redis.put(self._epoch_key, epoch)
        for edge in self.edges:
            edge.offer(None)
        await self._point("routing.withdraw.done")

    async def touch(self, route: Route = EVERYTHING) -> None:
        await self._point("routing.touch")
        self._redis.check()
        for edge in self.edges:
            edge.wake()
        await self._point("routing.touch.done")

    async def lacking(self) -> str:
        await self._point("routing.lacking")
        self._redis.check()
        await self._point("routing.lacking.done")
        return self.lacks

    async def readings(self, edges: tuple[str, ...]) -> tuple[EdgeReading, ...]:
        await self._point("routing.readings")
        readings = tuple([edge.reading() for edge in self.edges if edge.name in edges])
        await self._point("routing.readings.done")
        return readings
