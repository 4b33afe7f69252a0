"""What edges do to rollouts, through the real parts: lost ones, deaf ones, and those shut off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.traefik.routing import NOTIFY, TraefikRouting
from controlplane.domain.commands import Command
from controlplane.domain.model import EdgesRequired, State
from controlplane.domain.routing import EdgeReading
from controlplane.embedded.servers import RedisServer, TraefikServer, start_redis, start_traefik
from controlplane.ports.ledger import Order
from tests.agents import LONG_S, QUICK, Site, site
from tests.hosts import processes
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
ALL = replace(QUICK, edge_silence_s=1.0)
ANY = replace(ALL, edges_required=EdgesRequired.ANY)


@dataclass
class Edges:
    """A Redis of this test's own, and two edges that follow it."""

    redis: RedisServer
    stays: TraefikServer
    dies: TraefikServer


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[Edges]:
    server = start_redis(tmp_path / "redis")
    pair = [start_traefik(tmp_path / name, server) for name in ("stays", "dies")]
    yield Edges(server, *pair)
    for edge in pair:
        edge.stop()
    server.stop()


@pytest.fixture
async def place(
    tmp_path: Path, engine: AsyncEngine, migrated_database_url: str, edges: Edges
) -> AsyncIterator[Site]:
    """Two agents run; nothing is applied yet but the environment with one edge."""
    url = edges.redis.url()
    with site(tmp_path, engine, migrated_database_url, url, edges.stays.api_url) as made:
        await made.apply()
        made.start("host-a")
        made.start("host-b")
        yield made


@asynccontextmanager
async def routed(edges: Edges, environment: str = "local") -> AsyncIterator[TraefikRouting]:
    async with (
        open_redis(edges.redis.url()) as client,
        TraefikRouting(client, environment) as routing,
    ):
        yield routing


async def reading(routing: TraefikRouting, edge: TraefikServer) -> EdgeReading:
    (found,) = await routing.readings((edge.api_url,))
    return found


async def blocked(place: Site, rollout: str, code: str) -> str:
    """The blocker's sentence, once it has that code."""

    async def there() -> bool:
        blocker = (await place.ledger.rollout(rollout)).blocker
        return blocker is not None and blocker.code == code

    assert await eventually(there, LONG_S), await place.ledger.rollout(rollout)
    blocker = (await place.ledger.rollout(rollout)).blocker
    return blocker.sentence if blocker else ""


async def lost(place: Site) -> bool:
    return bool((await place.store.observe()).lost_edges)


async def test_restarted_instances_are_admitted_on_the_healthy_edge_while_another_is_dead(
    place: Site, edges: Edges
) -> None:
    await place.apply(ALL, edges.stays.api_url, edges.dies.api_url)
    await place.deployed("1.0.0")
    before = (await place.store.observe()).table
    edges.dies.stop()
    for host in ("host-a", "host-b"):
        for process in processes(place.folder / host):
            process.kill()

    async def served_anew() -> bool:
        table = (await place.store.observe()).table
        new = len(table.members) == 2 and not (table.addresses & before.addresses)
        async with routed(edges) as routing:
            return new and (await reading(routing, edges.stays)).confirms(table)

    assert await eventually(served_anew, LONG_S)


async def test_rollout_waits_for_a_dead_edge_until_it_is_taken_out(
    place: Site, edges: Edges
) -> None:
    await place.apply(ALL, edges.stays.api_url, edges.dies.api_url)
    await place.deployed("1.0.0")
    edges.dies.stop()
    rollout = await place.roll("1.1.0")
    assert edges.dies.api_url in await blocked(place, rollout, "edge_unconfirmed")
    assert await eventually(lambda: lost(place), LONG_S)
    await place.apply(ALL, edges.stays.api_url)
    assert (await place.ended(rollout)).state is State.SUCCEEDED


async def test_rollout_goes_on_without_a_dead_edge_when_any_is_enough(
    place: Site, edges: Edges
) -> None:
    await place.apply(ANY, edges.stays.api_url, edges.dies.api_url)
    await place.deployed("1.0.0")
    edges.dies.stop()
    await place.deployed("1.1.0")
    told = await place.ledger.recent_events(place.environment, None, 1000)
    (event,) = [event.message for event in told if event.kind == "edge"]
    assert edges.dies.api_url in event


async def test_release_that_an_edge_cannot_reach_holds_before_an_old_instance_leaves(
    place: Site, edges: Edges
) -> None:
    await place.deployed("1.0.0")
    old = (await place.store.observe()).table.members
    rollout = await place.roll("1.1.0", live=False)
    sentence = await blocked(place, rollout, "edge_calls_down")
    assert edges.stays.api_url in sentence
    assert "host-a/2" in sentence
    seen = await place.store.observe()
    assert old <= seen.table.members
    await place.ledger.steer(Order(rollout, Command.ABORT, "alice"))


async def test_rollout_goes_on_and_says_why_it_is_slow_where_redis_tells_edges_nothing(
    place: Site, edges: Edges
) -> None:
    await place.deployed("1.0.0")
    with redis.Redis.from_url(edges.redis.url()) as client:
        client.config_set(NOTIFY, "")
    async with routed(edges) as routing:
        assert NOTIFY in await routing.lacking()
    await place.deployed("1.1.0")
    told = await place.ledger.recent_events(place.environment, None, 1000)
    blockers = [event.message for event in told if event.kind == "blocker"]
    assert any(f"CONFIG SET {NOTIFY} KEA" in message for message in blockers)


async def test_deleted_keys_are_written_again_by_the_leader(place: Site, edges: Edges) -> None:
    await place.deployed("1.0.0")
    with redis.Redis.from_url(edges.redis.url()) as client:
        client.delete(*client.keys("traefik/http/services/*"))

    async def whole() -> bool:
        async with routed(edges) as routing:
            table = (await place.store.observe()).table
            found = await routing.published()
            confirmed = (await reading(routing, edges.stays)).confirms(table)
        return (
            found is not None
            and confirmed
            and (found.revision, found.whole) == (table.revision, True)
        )

    assert await eventually(whole, LONG_S)
