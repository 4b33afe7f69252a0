"""What users of the service see while its servers are away, and that it recovers by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.embedded.servers import start_postgres, start_redis
from controlplane.schema.runner import upgrade
from tests.service import client_of, settings
from tests.waiting import eventually

ME = "/api/v1/users/me"
PROJECTS = "/api/v1/projects"


async def timed(client: httpx.AsyncClient, path: str) -> tuple[int, float]:
    """(status, seconds) of one GET."""
    began = time.monotonic()
    response = await client.get(path)
    return response.status_code, time.monotonic() - began


def answers(client: httpx.AsyncClient, path: str, status: int) -> Callable[[], Any]:
    async def holds() -> bool:
        return (await client.get(path)).status_code == status

    return holds


async def test_stopped_postgres_is_a_problem_and_started_again_is_none(tmp_path: Path) -> None:
    server = await asyncio.to_thread(start_postgres, tmp_path)
    try:
        url = server.create_database("camp")
        await upgrade(url)
        async with client_of(settings(url)) as client:
            assert (await client.get(ME)).status_code == 200
            server.stop()
            for path in (PROJECTS, "/api/v1/chats"):
                refused = await client.get(path)
                body = refused.json()
                assert (refused.status_code, body["code"]) == (503, "database_unavailable")
                assert (refused.headers["retry-after"], body["retryable"]) == ("1", True)
            status, took_s = await timed(client, "/health/ready")
            assert (status, took_s < 2) == (503, True)
            server = await asyncio.to_thread(start_postgres, tmp_path, server.port)
            assert await eventually(answers(client, "/health/ready", 200))
            assert (await client.post(PROJECTS, json={"name": "after"})).status_code == 201
    finally:
        server.stop()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP])
async def test_redis_that_is_killed_or_hangs_costs_no_request(
    migrated_database_url: str, tmp_path: Path, ending: signal.Signals
) -> None:
    server = start_redis(tmp_path)
    made = settings(
        migrated_database_url,
        REDIS_URL=server.url(),
        REDIS_TIMEOUT_S="0.25",
        RATE_LIMIT="1000/minute",
    )
    try:
        async with client_of(made) as client:
            project = (await client.post(PROJECTS, json={"name": "before"})).json()["id"]
            os.kill(server.pid, ending)
            paths = [ME, PROJECTS, f"{PROJECTS}/{project}", "/health/ready", "/health"] * 4
            seen = [await timed(client, path) for path in paths]
            assert {status for status, _ in seen} == {200}
            # Each of limiter, cache and health may wait for its own time limit once or twice.
            assert sum(took_s for _, took_s in seen) < 5
            assert sorted(took_s for _, took_s in seen)[len(seen) // 2] < 0.25
            if ending == signal.SIGSTOP:
                os.kill(server.pid, signal.SIGCONT)
            else:
                server.stop()  # what kept it is still there
                server = await asyncio.to_thread(start_redis, tmp_path, server.port)

            async def redis_is_back() -> bool:
                return bool((await client.get("/health")).json()["redis"] == "ok")

            async def counted_again() -> bool:
                return "ratelimit" in (await client.get(ME)).headers

            assert await eventually(redis_is_back)
            assert await eventually(counted_again)
    finally:
        server.stop()


@asynccontextmanager
async def used_up(
    database_url: str, patience_s: str
) -> AsyncIterator[tuple[httpx.AsyncClient, AsyncExitStack]]:
    """A client of an instance whose pool has no connection left until the stack is closed."""
    made = settings(
        database_url, DB_POOL_SIZE="2", DB_MAX_OVERFLOW="1", DB_POOL_TIMEOUT_S=patience_s
    )
    async with client_of(made) as client, AsyncExitStack() as held:
        assert (await client.get(ME)).status_code == 200
        for _ in range(3):
            await held.enter_async_context(client.app.state.engine.connect())  # type: ignore[attr-defined]
        yield client, held


async def test_readiness_answers_while_a_crowd_still_waits_for_the_pool(
    migrated_database_url: str,
) -> None:
    async with used_up(migrated_database_url, "50") as (client, held):
        crowd = [asyncio.create_task(client.get(PROJECTS)) for _ in range(50)]
        probes = [(await client.get("/health/ready")).status_code for _ in range(20)]
        assert probes == [200] * 20
        assert not any(one.done() for one in crowd)
        await held.aclose()
        assert {answer.status_code for answer in await asyncio.gather(*crowd)} == {200}


async def test_who_waits_too_long_for_the_pool_is_asked_to_come_again(
    migrated_database_url: str,
) -> None:
    async with used_up(migrated_database_url, "0.1") as (client, held):
        refused = await asyncio.gather(*(client.get(PROJECTS) for _ in range(50)))
        assert {(r.status_code, r.json()["code"]) for r in refused} == {(503, "database_busy")}
        assert {r.headers["retry-after"] for r in refused} == {"1"}
        await held.aclose()
        assert (await client.get(PROJECTS)).status_code == 200
