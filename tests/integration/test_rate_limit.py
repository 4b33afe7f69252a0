"""The budget of users and addresses on a real Redis, shared by instances in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from camp.http.rate_limit import SharedCounts
from controlplane.embedded.servers import RedisServer, start_redis
from tests.proxy import Proxy
from tests.service import client_of, settings
from tests.waiting import eventually

ME = "/api/v1/users/me"
# A window that no test outlives, and that begins anew with every database of Redis emptied.
FIVE = {"RATE_LIMIT": "5/day"}


async def statuses(client: httpx.AsyncClient, count: int, **request: object) -> list[int]:
    return [(await client.get(ME, **request)).status_code for _ in range(count)]  # type: ignore[arg-type]


async def test_two_instances_share_one_budget_of_a_user(
    migrated_database_url: str, redis_url: str
) -> None:
    made = settings(migrated_database_url, REDIS_URL=redis_url, **FIVE)
    async with client_of(made) as one, client_of(made) as other:
        assert await statuses(one, 3) + await statuses(other, 2) == [200] * 5
        assert await statuses(one, 1) + await statuses(other, 1) == [429] * 2


async def test_refusal_says_when_to_come_back(migrated_database_url: str, redis_url: str) -> None:
    made = settings(migrated_database_url, REDIS_URL=redis_url, RATE_LIMIT="1/day")
    async with client_of(made) as client:
        passed, refused = await client.get(ME), await client.get(ME)
        assert passed.headers["ratelimit-policy"] == '"default";q=1;w=86400'
        assert passed.headers["ratelimit"].startswith('"default";r=0;t=')
        body = refused.json()
        assert (refused.status_code, body["code"], body["retryable"]) == (429, "rate_limited", True)
        assert refused.headers["content-type"].startswith("application/problem+json")
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert refused.headers["retry-after"] in body["detail"]
        metrics = (await client.get("/metrics")).text
        assert "camp_rate_limited_requests_total 1.0" in metrics


async def test_probes_docs_and_the_control_api_cost_nothing(
    migrated_database_url: str, redis_url: str
) -> None:
    made = settings(migrated_database_url, REDIS_URL=redis_url, **FIVE)
    free = ("/health", "/health/ready", "/metrics", "/docs", "/control/v1/environments", "/nothing")
    async with client_of(made) as client:
        await statuses(client, 6)
        seen = [(await client.get(path)).status_code for path in free * 2]
        assert 429 not in seen


async def test_those_not_signed_in_are_counted_by_address(
    migrated_database_url: str, redis_url: str
) -> None:
    made = settings(
        migrated_database_url, REDIS_URL=redis_url, TRUSTED_PROXIES="127.0.0.0/8", **FIVE
    )
    async with client_of(made) as client:
        wrong = {"authorization": "Bearer wrong", "x-forwarded-for": "198.51.100.1"}
        assert await statuses(client, 6, headers=wrong) == [401] * 5 + [429]
        elsewhere = wrong | {"x-forwarded-for": "198.51.100.2"}
        assert await statuses(client, 1, headers=elsewhere) == [401]
        # Whoever has one address of a /64 has all the others.
        found = []
        for host in range(6):
            mine = wrong | {"x-forwarded-for": f"[2001:db8::{host}]:4711"}
            found += await statuses(client, 1, headers=mine)
        assert found == [401] * 5 + [429]
        assert await statuses(client, 1) == [200]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("open", [200] * 7), ("local", [200] * 5 + [429] * 2), ("closed", [503] * 7)],
)
async def test_without_redis_the_policy_decides(
    migrated_database_url: str, policy: str, expected: list[int]
) -> None:
    dead = "redis://127.0.0.1:1/0"
    made = settings(migrated_database_url, REDIS_URL=dead, RATE_LIMIT_FAILURE=policy, **FIVE)
    async with client_of(made) as client:
        assert await statuses(client, 7) == expected
        assert "camp_rate_limiter_down 1.0" in (await client.get("/metrics")).text


async def test_hung_redis_costs_one_request_its_timeout(
    migrated_database_url: str, redis_server: RedisServer
) -> None:
    proxy = Proxy(redis_server.port)
    await proxy.open()
    url = f"redis://127.0.0.1:{proxy.port}/0"
    try:
        made = settings(migrated_database_url, REDIS_URL=url, **FIVE)
        async with client_of(made) as client:
            assert await statuses(client, 1) == [200]
            proxy.freeze()
            began = time.monotonic()
            assert await statuses(client, 10) == [200] * 10
            assert time.monotonic() - began < 2 * made.redis_timeout_s
    finally:
        await proxy.cut()


async def test_killed_redis_that_comes_back_counts_again(
    migrated_database_url: str, tmp_path: Path
) -> None:
    server = start_redis(tmp_path)
    made = settings(migrated_database_url, REDIS_URL=server.url(), **FIVE)
    async with client_of(made) as client:

        async def counted() -> bool:
            return "ratelimit" in (await client.get(ME)).headers

        assert await counted()
        server.stop()
        assert await statuses(client, 5) == [200] * 5
        assert not await counted()
        again = await asyncio.to_thread(start_redis, tmp_path, server.port)
        try:
            assert await eventually(counted)
        finally:
            again.stop()


async def test_counts_that_share_a_round_trip_stay_apart(redis_url: str) -> None:
    async with closing_counts(redis_url) as counts:
        names = ["one", "other"] * 25
        seen = await asyncio.gather(*(counts.add(name) for name in names))
        for name in ("one", "other"):
            mine = [count for count, of in zip(seen, names, strict=True) if of == name]
            assert mine == list(range(1, 26))


async def test_who_leaves_while_counted_takes_no_other_along(redis_url: str) -> None:
    async with closing_counts(redis_url) as counts:
        first, second = (asyncio.ensure_future(counts.add("one")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 2


async def test_count_goes_with_its_window(redis_url: str) -> None:
    async with closing_counts(redis_url) as counts, Redis.from_url(redis_url) as redis:
        await counts.add("one")
        assert 0 < await redis.ttl("camp:rate:one") <= 60


@asynccontextmanager
async def closing_counts(redis_url: str) -> AsyncIterator[SharedCounts]:
    counts = SharedCounts(Redis.from_url(redis_url), window_s=60)
    try:
        yield counts
    finally:
        await counts.close()
