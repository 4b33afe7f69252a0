"""Environments side by side on real edges, and how they leave them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.domain.route import Route
from controlplane.domain.routing import Member, Table
from controlplane.embedded.servers import RedisServer, TraefikServer, start_redis, start_traefik
from tests.fakes.backend import Backend
from tests.waiting import eventually


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Of this test alone: what an edge does when its last environment leaves depends on others."""
    server = start_redis(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def edge(tmp_path: Path, redis_server: RedisServer) -> Iterator[TraefikServer]:
    server = start_traefik(tmp_path / "traefik", redis_server)
    yield server
    server.stop()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def environment(stack: AsyncExitStack, redis: RedisServer, name: str) -> TraefikRouting:
    client = await stack.enter_async_context(open_redis(redis.url()))
    return await stack.enter_async_context(TraefikRouting(client, name))


def table(revision: int, backend: Backend) -> Table:
    return Table(revision, frozenset({Member("host-a", 1, backend.address)}))


async def answered(edge: TraefikServer, status: int, path: str = "/x", host: str = "a") -> bool:
    async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as web:
        return (await web.get(path, headers={"host": host})).status_code == status


async def test_environments_share_an_edge_by_host_and_by_path(
    stack: AsyncExitStack, redis_server: RedisServer, edge: TraefikServer
) -> None:
    routes = {
        "production": Route(host="a.test"),
        "staging": Route(host="b.test", path="/staging"),
    }
    backends = {name: await stack.enter_async_context(Backend()) for name in routes}
    for name, route in routes.items():
        routing = await environment(stack, redis_server, name)
        await routing.publish(table(1, backends[name]), 1, route)
    assert await eventually(lambda: answered(edge, 200, "/x", "a.test"))
    assert await eventually(lambda: answered(edge, 200, "/staging/y", "b.test"))
    assert await answered(edge, 404, "/stagingx", "b.test")
    assert await answered(edge, 404, "/x", "c.test")
    assert set(backends["production"].seen) == {"GET /x"}
    assert set(backends["staging"].seen) == {"GET /y"}


async def test_last_environment_of_an_edge_leaves_nothing_behind(
    stack: AsyncExitStack, redis_server: RedisServer, edge: TraefikServer
) -> None:
    backend = await stack.enter_async_context(Backend())
    routing = await environment(stack, redis_server, "local")
    await routing.publish(table(1, backend), 1)
    assert await eventually(lambda: answered(edge, 200))
    await routing.withdraw(2)
    assert await eventually(lambda: answered(edge, 404))


async def test_environment_that_moves_to_other_edges_leaves_the_former(
    stack: AsyncExitStack, redis_server: RedisServer, edge: TraefikServer, tmp_path: Path
) -> None:
    other = start_traefik(tmp_path / "other", redis_server, root_key="other")
    stack.callback(other.stop)
    backend = await stack.enter_async_context(Backend())
    routing = await environment(stack, redis_server, "local")
    await routing.publish(table(1, backend), 1)
    assert await eventually(lambda: answered(edge, 200))
    await routing.publish(table(2, backend), 1, Route(root="other"))
    assert await eventually(lambda: answered(other, 200))
    assert await eventually(lambda: answered(edge, 404))
