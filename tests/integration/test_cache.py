"""The cache on a real Redis: what is kept, what a change takes away, and life without Redis."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from camp.cache import Cache
from controlplane.embedded.servers import RedisServer
from tests.proxy import Proxy
from tests.waiting import eventually

TTL_S = 30.0
TIMEOUT_S = 2.0


class Source:
    """What a cache is made from; counts how often it is asked."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        return self.value


class Side:
    """One instance's cache, over a way that can be cut and frozen."""

    def __init__(self, url: str) -> None:
        self.results: Counter[str] = Counter()
        self.client = Redis.from_url(url, socket_connect_timeout=1)
        self.cache = Cache(self.client, "test", ttl_s=TTL_S, timeout_s=TIMEOUT_S, tally=self.tally)

    def tally(self, _: str, result: str) -> None:
        self.results[result] += 1

    async def get(self, source: Source) -> str:
        return await self.cache.get("group", "field", source)

    async def close(self) -> None:
        await self.cache.close()
        await self.client.aclose()


@pytest.fixture
async def side(redis_url: str) -> AsyncIterator[Side]:
    made = Side(redis_url)
    yield made
    await made.close()


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[Side]:
    made = Side(redis_url)
    yield made
    await made.close()


@pytest.fixture
async def proxy(redis_server: RedisServer, redis_url: str) -> AsyncIterator[Proxy]:
    made = Proxy(redis_server.port)
    await made.open()
    yield made
    await made.cut()


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[Side]:
    made = Side(f"redis://127.0.0.1:{proxy.port}/0")
    yield made
    await made.close()


async def test_value_is_loaded_once_for_all_instances(side: Side, other: Side) -> None:
    source = Source("a")
    assert [await side.get(source), await other.get(source), await side.get(source)] == ["a"] * 3
    assert source.asked == 1
    assert (side.results, other.results) == ({"miss": 1, "hit": 1}, {"hit": 1})


async def test_change_is_seen_by_every_instance_at_once(side: Side, other: Side) -> None:
    source = Source("old")
    assert await other.get(source) == "old"
    async with side.cache.changing("group"):
        source.value = "new"
    assert await other.get(source) == "new"


async def test_reader_from_before_a_change_leaves_nothing_behind(side: Side, other: Side) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        seen.set()
        await go_on.wait()
        return "old"

    reader = asyncio.create_task(side.cache.get("group", "field", slow))
    await seen.wait()
    async with other.cache.changing("group"):
        pass
    go_on.set()
    assert await reader == "old"
    assert await other.get(Source("new")) == "new"


async def test_nothing_is_kept_while_a_change_is_under_way(side: Side, other: Side) -> None:
    source = Source("old")
    async with side.cache.changing("group"):
        assert await other.get(source) == "old"
        source.value = "new"
        # Whoever changes may die here, after its commit.
        assert await other.get(source) == "new"


async def test_change_that_fails_empties_the_group_too(side: Side) -> None:
    with pytest.raises(RuntimeError):
        async with side.cache.changing("group"):
            raise RuntimeError
    source = Source("a")
    assert [await side.get(source), await side.get(source)] == ["a", "a"]
    assert source.asked == 1


async def test_values_expire(side: Side) -> None:
    await side.get(Source("a"))
    assert 0 < await side.client.pttl("camp:cache:test:group") <= TTL_S * 1000
    async with side.cache.changing("group"):
        pass
    await side.get(Source("b"))
    assert 0 < await side.client.pttl("camp:cache:test:group") <= TTL_S * 1000


async def test_hung_redis_costs_one_request_its_timeout(far: Side, proxy: Proxy) -> None:
    source = Source("a")
    await far.get(source)
    proxy.freeze()
    began = time.monotonic()
    assert {await far.get(source) for _ in range(20)} == {"a"}
    assert time.monotonic() - began < 2 * TIMEOUT_S
    assert far.results["unavailable"] == 20


async def test_cache_is_used_again_once_redis_is_back(far: Side, proxy: Proxy) -> None:
    source = Source("a")
    await proxy.cut()
    assert await far.get(source) == "a"
    await proxy.open()

    async def hit() -> bool:
        await far.get(source)
        return far.results["hit"] > 0

    assert await eventually(hit)


async def test_change_that_redis_did_not_hear_of_is_told_when_it_is_back(
    far: Side, proxy: Proxy, side: Side
) -> None:
    source = Source("old")
    await far.get(source)
    async with far.cache.changing("group"):
        await proxy.cut()
        source.value = "new"
    assert await far.get(source) == "new"
    await side.client.delete("camp:cache:test:group")  # as if the mark of the change had expired
    assert await side.get(Source("old")) == "old"
    await proxy.open()

    async def corrected() -> bool:
        return await side.get(source) == "new"

    assert await eventually(corrected)


async def test_change_is_told_even_while_look_ups_leave_redis_alone(
    far: Side, proxy: Proxy, side: Side
) -> None:
    source = Source("old")
    await side.get(source)
    await proxy.cut()
    await far.get(source)
    await proxy.open()
    async with far.cache.changing("group"):
        source.value = "new"
    assert far.results["unavailable"] == 1
    assert await side.get(source) == "new"


async def test_without_redis_every_look_up_is_loaded_and_none_counted() -> None:
    counted: Counter[str] = Counter()
    cache = Cache(
        None,
        "test",
        ttl_s=TTL_S,
        timeout_s=TIMEOUT_S,
        tally=lambda _, result: counted.update([result]),
    )
    source = Source("a")
    async with cache.changing("group"):
        assert [await cache.get("group", "f", source) for _ in range(2)] == ["a", "a"]
    assert (source.asked, counted) == (2, {})
