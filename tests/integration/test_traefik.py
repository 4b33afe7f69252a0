"""Real traffic through a real Traefik while its table changes."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.domain.errors import BusUnavailable
from controlplane.domain.route import Route
from controlplane.domain.routing import EdgeReading, Member, Table
from controlplane.embedded.servers import TraefikServer, start_redis, start_traefik
from tests.fakes.backend import Backend
from tests.waiting import eventually


@dataclass
class Ground:
    """A routing, its backends, and a client of the web entry point."""

    routing: TraefikRouting
    backends: list[Backend]
    web: httpx.AsyncClient
    edge: str
    revision: int = 0

    async def serve(self, backends: Iterable[Backend]) -> None:
        """Publish a table of these backends and wait until the edge serves it."""
        await self.publish(backends)
        assert await eventually(self.confirmed)

    async def publish(self, backends: Iterable[Backend]) -> None:
        self.revision += 1
        members = (Member(f"host-{n}", 0, b.address) for n, b in enumerate(backends))
        await self.routing.publish(Table(self.revision, frozenset(members)), epoch=1)

    async def confirmed(self) -> bool:
        return (await self.reading()).revision == self.revision

    async def reading(self) -> EdgeReading:
        (reading,) = await self.routing.readings((self.edge,))
        return reading


@asynccontextmanager
async def opened(redis_url: str, traefik: TraefikServer) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_redis(redis_url))
        routing = TraefikRouting(client, f"t-{uuid.uuid4().hex[:8]}")
        await stack.enter_async_context(routing)
        web = httpx.AsyncClient(base_url=traefik.url, trust_env=False, timeout=10)
        await stack.enter_async_context(web)
        backends = [await stack.enter_async_context(Backend()) for _ in range(4)]
        yield Ground(routing, backends, web, traefik.api_url)


@pytest.fixture
async def ground(redis_url: str, traefik: TraefikServer) -> AsyncIterator[Ground]:
    async with opened(redis_url, traefik) as it:
        yield it


async def ask(ground: Ground, method: str, done: asyncio.Event, seen: Counter[str]) -> None:
    while not done.is_set():
        try:
            answer = await ground.web.request(method, "/x")
            seen[str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            seen[repr(error)] += 1


@asynccontextmanager
async def load(ground: Ground) -> AsyncIterator[Counter[str]]:
    """Keep GETs and POSTs coming on kept-alive connections; count answers by status or error."""
    done = asyncio.Event()
    seen: Counter[str] = Counter()
    askers = [asyncio.create_task(ask(ground, m, done, seen)) for m in ("GET", "POST") * 2]
    try:
        yield seen
    finally:
        done.set()
        await asyncio.gather(*askers)


async def events(ground: Ground, wanted: int) -> int:
    """Read an event stream to its end and return how many events came."""
    async with ground.web.stream("GET", f"/stream/{wanted}") as answer:
        return sum([line.startswith("data:") async for line in answer.aiter_lines()])


async def test_confirmed_table_is_the_one_that_traffic_follows(ground: Ground) -> None:
    first, second, *_ = ground.backends
    await ground.serve([first])
    assert (await ground.web.get("/x")).status_code == 200
    await ground.serve([second])
    assert (await ground.web.get("/x")).status_code == 200
    assert (first.requests, second.requests) == (1, 1)
    assert second.table == "2"


async def test_new_server_is_untried_until_the_edge_has_checked_it(ground: Ground) -> None:
    first, *_ = ground.backends
    await ground.serve([first])
    assert (await ground.reading()).untried == {first.address}

    async def tried() -> bool:
        reading = await ground.reading()
        return not reading.untried and not reading.down

    assert await eventually(tried)


async def test_no_request_is_lost_while_confirmed_tables_replace_each_other(
    ground: Ground,
) -> None:
    await ground.serve(ground.backends[:2])
    async with load(ground) as seen:
        for turn in range(10):
            await ground.serve(ground.backends[n % 4] for n in range(turn, turn + 1 + turn % 3))
    assert set(seen) == {"200"}
    assert seen["200"] > 50


async def test_no_request_is_lost_when_tables_come_faster_than_the_edge_reads_them(
    ground: Ground,
) -> None:
    await ground.serve(ground.backends[:2])
    async with load(ground) as seen:
        for turn in range(200):
            await ground.publish(ground.backends[n % 4] for n in range(turn, turn + 1 + turn % 3))
        assert await eventually(ground.confirmed)
    assert set(seen) == {"200"}


async def test_stream_on_a_withdrawn_instance_runs_to_its_end(ground: Ground) -> None:
    first, second, *_ = ground.backends
    await ground.serve([first])
    stream = asyncio.create_task(events(ground, 20))
    assert await eventually(lambda: first.streams == 1)
    await ground.serve([second])
    assert first.streams == 1
    first.go_on.set()
    assert await stream == 20


async def test_requests_pass_over_an_instance_that_died(ground: Ground) -> None:
    dead, *alive = ground.backends
    dead.kill()
    await ground.serve([dead, *alive])
    for method in ("GET", "POST") * 6:
        assert (await ground.web.request(method, "/x")).status_code == 200


async def test_request_that_was_sent_is_never_sent_again(ground: Ground) -> None:
    await ground.serve(ground.backends)
    for method in ("GET", "POST"):
        answer = await ground.web.request(method, "/drop")
        assert answer.status_code == 502
        assert sum(backend.seen[f"{method} /drop"] for backend in ground.backends) == 1


async def test_body_larger_than_the_retry_collects_arrives_whole(ground: Ground) -> None:
    (backend, *_) = ground.backends
    await ground.serve([backend])
    body = b"x" * (3 << 20)
    assert (await ground.web.post("/upload", content=body)).status_code == 200
    assert backend.largest_body == len(body)


async def test_empty_table_answers_503(ground: Ground) -> None:
    await ground.serve(ground.backends)
    await ground.serve([])
    assert (await ground.web.get("/x")).status_code == 503


async def test_instance_that_hangs_in_its_check_is_passed_over_until_it_recovers(
    ground: Ground,
) -> None:
    sick, well, *_ = ground.backends
    await ground.serve([sick, well])
    sick.healthy = False

    async def passed_over() -> bool:
        before = sick.requests
        for _ in range(4):
            await ground.web.get("/x")
        return sick.requests == before

    assert await eventually(passed_over)
    sick.healthy = True

    async def used() -> bool:
        return not await passed_over()

    assert await eventually(used)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"host": "`"}, "parsing rule"), ({"entry_point": "nowhere"}, "doesn't exist")],
)
async def test_route_that_the_edge_cannot_serve_is_never_confirmed(
    redis_url: str, traefik: TraefikServer, options: dict[str, str], said: str
) -> None:
    async with (
        open_redis(redis_url) as client,
        TraefikRouting(client, "broken") as routing,
    ):
        await routing.publish(Table(1), 1, Route(**options))

        async def told() -> bool:
            (reading,) = await routing.readings((traefik.api_url,))
            return reading.revision is None and said in reading.error

        assert await eventually(told)


async def test_lost_redis_costs_no_request_and_the_next_table_is_followed(tmp_path: Path) -> None:
    redis = start_redis(tmp_path / "redis")
    traefik = start_traefik(tmp_path / "traefik", redis)
    try:
        async with opened(redis.url(), traefik) as ground:
            await ground.serve(ground.backends[:2])
            async with load(ground) as seen:
                redis.stop()
                with pytest.raises(BusUnavailable):
                    await ground.routing.published()
                assert (await ground.web.get("/x")).status_code == 200
                redis = start_redis(tmp_path / "redis", redis.port)
                assert await ground.routing.published() is None
                await ground.serve(ground.backends[2:])
            assert set(seen) == {"200"}
    finally:
        traefik.stop()
        redis.stop()
