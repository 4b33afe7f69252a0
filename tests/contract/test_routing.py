"""What every routing must do, Traefik's and the fake alike."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from redis.asyncio import Redis

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.domain.errors import BusUnavailable, Fenced, Stale
from controlplane.domain.routing import EdgeReading, Member, Published, Table
from controlplane.ports.routing import Routing
from tests.fakes.redis import FakeRedis
from tests.fakes.routing import FakeEdge, FakeRouting
from tests.fakes.world import World
from tests.waiting import eventually

DELAY_S = 0.1
LOCAL = "local"
NOBODY = "http://127.0.0.1:1"
A = Member("host-a", 0, "127.0.0.1:18001")
B = Member("host-b", 0, "127.0.0.1:18002")


def table(revision: int, *members: Member) -> Table:
    return Table(revision, frozenset(members))


class Ground:
    """A routing with one edge, and what can happen to its store."""

    def __init__(
        self,
        routing: Routing,
        world: World | None,
        redis: FakeRedis | Redis,
        lost: Routing,
        *,
        edge: str,
        fakes: Sequence[FakeEdge] = (),
    ) -> None:
        self.routing = routing
        self.lost = lost
        self.edges = (edge,)
        self._world = world
        self._redis = redis
        self._fakes = fakes

    async def empty(self) -> None:
        if isinstance(self._redis, FakeRedis):
            self._redis.empty()
        else:
            await self._redis.flushall()

    async def lose_a_key(self) -> None:
        """One of the keys that edges follow is deleted by hand."""
        if isinstance(self._redis, FakeRedis):
            self._redis.delete(f"camp:{LOCAL}:routing:table")
        else:
            keys = [key async for key in self._redis.scan_iter("traefik/http/services/*/url")]
            await self._redis.delete(keys[0])

    def cut(self, member: Member) -> None:
        """The edge cannot reach the member; at the real one nobody listens there anyway."""
        for edge in self._fakes:
            edge.unreachable |= {member.address}

    async def reading(self) -> EdgeReading:
        (reading,) = await self.routing.readings(self.edges)
        return reading

    def pass_time(self) -> None:
        """The fake edge follows after a while; the real one needs no telling."""
        if self._world is not None:
            self._world.now += DELAY_S

    async def confirmed(self, revision: int) -> bool:
        """Whether every edge serves the revision before a deadline."""
        self.pass_time()

        async def serving() -> bool:
            readings = await self.routing.readings(self.edges)
            return all(reading.revision == revision for reading in readings)

        return await eventually(serving)


async def revision(routing: Routing) -> int | None:
    published = await routing.published()
    return None if published is None else published.revision


@pytest.fixture(params=["fake", "traefik"])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    """`lost` is a routing to the same edge whose Redis does not answer."""
    if request.param == "fake":
        yield fake_ground()
        return
    url = request.getfixturevalue("redis_url")
    edge = request.getfixturevalue("traefik").api_url
    environment = f"test-{uuid.uuid4().hex[:8]}"
    async with (
        open_redis(url) as client,
        open_redis("redis://127.0.0.1:1/0") as nowhere,
        TraefikRouting(client, environment) as routing,
        TraefikRouting(nowhere, environment) as lost,
    ):
        yield Ground(routing, None, client, lost, edge=edge)


def fake_ground() -> Ground:
    world = World()
    redis, dead = FakeRedis(world), FakeRedis(world)
    dead.down = True
    edges = [FakeEdge(world, "edge", DELAY_S)]
    lost = FakeRouting(dead, edges, LOCAL)
    routing = FakeRouting(redis, edges, LOCAL)
    return Ground(routing, world, redis, lost, edge="edge", fakes=edges)


async def test_edge_without_a_table_says_so_in_words(ground: Ground) -> None:
    (reading,) = await ground.routing.readings(ground.edges)
    assert reading.revision is None
    assert "table" in reading.error
    assert await ground.routing.published() is None


async def test_published_table_is_confirmed_by_every_edge(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=1)
    assert await revision(ground.routing) == 1
    assert await ground.confirmed(1)
    await ground.routing.publish(table(2, A, B), epoch=1)
    assert await ground.confirmed(2)
    (reading,) = await ground.routing.readings(ground.edges)
    assert reading.error == ""


async def test_edge_says_which_servers_it_uses(ground: Ground) -> None:
    for wanted in (table(1, A), table(2, A, B), table(3)):
        await ground.routing.publish(wanted, epoch=1)
        assert await ground.confirmed(wanted.revision)
        assert (await ground.reading()).confirms(wanted)


async def test_server_that_an_edge_cannot_reach_is_called_down(ground: Ground) -> None:
    ground.cut(A)
    await ground.routing.publish(table(1, A), epoch=1)
    assert await ground.confirmed(1)

    async def called_down() -> bool:
        return (await ground.reading()).down == {A.address}

    assert await eventually(called_down)
    await ground.routing.publish(table(2, A), epoch=1)
    assert await ground.confirmed(2)
    assert await called_down(), "a new table proves nothing"
    await ground.routing.publish(table(3), epoch=1)
    assert await ground.confirmed(3)
    assert (await ground.reading()).down == frozenset()


async def test_deleted_key_is_found_and_written_again(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=1)
    assert await ground.confirmed(1)
    await ground.lose_a_key()
    assert await ground.routing.published() == Published(1, 1, whole=False)
    await ground.routing.publish(table(1, A), epoch=1)
    assert await ground.routing.published() == Published(1, 1)

    async def whole() -> bool:
        return (await ground.reading()).confirms(table(1, A))

    assert await eventually(whole)


async def test_withdrawn_environment_leaves_its_edges_and_its_leader_is_fenced(
    ground: Ground,
) -> None:
    await ground.routing.publish(table(1, A), epoch=3)
    assert await ground.confirmed(1)
    with pytest.raises(Fenced):
        await ground.routing.withdraw(2)
    await ground.routing.withdraw(4)
    assert await ground.routing.published() == Published(4, 0, whole=False)
    with pytest.raises(Fenced):
        await ground.routing.publish(table(2, A), epoch=3)
    ground.pass_time()

    async def left() -> bool:
        return "no table" in (await ground.reading()).error

    assert await eventually(left)


async def test_touch_changes_nothing(ground: Ground) -> None:
    await ground.routing.touch()
    assert await ground.routing.published() is None
    await ground.routing.publish(table(1, A), epoch=1)
    await ground.routing.touch()
    assert await ground.routing.published() == Published(1, 1)
    assert await ground.confirmed(1)


async def test_nothing_is_lacking_where_edges_hear_of_changes(ground: Ground) -> None:
    assert await ground.routing.lacking() == ""
    with pytest.raises(BusUnavailable):
        await ground.lost.lacking()
    with pytest.raises(BusUnavailable):
        await ground.lost.touch()


async def test_empty_table_is_confirmed_like_any_other(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=1)
    await ground.routing.publish(table(2), epoch=1)
    assert await ground.confirmed(2)


async def test_publishing_the_same_table_twice_is_harmless(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=1)
    await ground.routing.publish(table(1, A), epoch=1)
    assert await ground.confirmed(1)


async def test_older_epoch_is_fenced_and_changes_nothing(ground: Ground) -> None:
    await ground.routing.publish(table(4, A), epoch=3)
    with pytest.raises(Fenced):
        await ground.routing.publish(table(5, B), epoch=2)
    assert await revision(ground.routing) == 4
    assert await ground.confirmed(4)


async def test_newer_epoch_takes_over_at_the_same_revision(ground: Ground) -> None:
    await ground.routing.publish(table(4, A), epoch=3)
    await ground.routing.publish(table(4, A), epoch=4)
    assert await ground.routing.published() == Published(epoch=4, revision=4)
    with pytest.raises(Fenced):
        await ground.routing.publish(table(5, A), epoch=3)


async def test_late_write_of_our_own_does_not_bring_an_old_table_back(ground: Ground) -> None:
    await ground.routing.publish(table(5, A), epoch=1)
    with pytest.raises(Stale):
        await ground.routing.publish(table(4, B), epoch=1)
    assert await revision(ground.routing) == 5


async def test_edges_keep_their_table_when_the_store_is_emptied(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=1)
    assert await ground.confirmed(1)
    await ground.empty()
    assert await ground.routing.published() is None
    assert await ground.confirmed(1)


async def test_emptied_store_is_seeded_again(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=2)
    assert await ground.confirmed(1)
    await ground.empty()
    await ground.routing.publish(table(2, B), epoch=2)
    assert await revision(ground.routing) == 2
    assert await ground.confirmed(2)


async def test_lost_store_is_an_error_but_edges_still_answer(ground: Ground) -> None:
    await ground.routing.publish(table(1, A), epoch=1)
    assert await ground.confirmed(1)
    with pytest.raises(BusUnavailable):
        await ground.lost.publish(table(2, B), epoch=1)
    with pytest.raises(BusUnavailable):
        await ground.lost.published()
    (reading,) = await ground.lost.readings(ground.edges)
    assert reading.revision == 1


def silent_fake() -> Routing:
    world = World()
    edge = FakeEdge(world, NOBODY)
    edge.down = True
    return FakeRouting(FakeRedis(world), [edge])


def silent_traefik() -> Routing:
    return TraefikRouting(open_redis("redis://127.0.0.1:1/0"), "test")


@pytest.mark.parametrize("build", [silent_fake, silent_traefik])
async def test_edge_that_does_not_answer_is_a_reading_not_an_error(
    build: Callable[[], Routing],
) -> None:
    (reading,) = await build().readings((NOBODY,))
    assert reading.revision is None
    assert reading.error


async def test_stuck_fake_edge_follows_the_newest_table_once_it_is_free() -> None:
    world = World()
    edge = FakeEdge(world, "edge", DELAY_S)
    routing = FakeRouting(FakeRedis(world), [edge])
    await routing.publish(table(1, A), epoch=1)
    world.now += DELAY_S
    edge.stuck = True
    await routing.publish(table(2, B), epoch=1)
    await routing.publish(table(3, A, B), epoch=1)
    world.now += 10
    assert edge.table == table(1, A)
    edge.stuck = False
    assert edge.table == table(1, A)
    world.now += DELAY_S
    assert edge.table == table(3, A, B)
