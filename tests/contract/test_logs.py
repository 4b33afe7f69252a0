"""What every carrier of log requests must do, the one in Redis and the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.logs import RedisLogRequests, RedisLogs
from controlplane.domain.errors import AgentSilent, BusUnavailable, RuntimeUnavailable
from controlplane.ports.logs import LogAnswer, LogRequest, LogRequests, Logs
from tests.fakes.logs import FakeLogs
from tests.waiting import eventually


@dataclass
class Ground:
    """An operator's side and two agents; `hasty` waits for 0.1 s only."""

    logs: Logs
    hasty: Logs
    a: LogRequests
    b: LogRequests


@pytest.fixture(params=["fake", "redis"])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    if request.param == "fake":
        logs = FakeLogs()
        hasty = FakeLogs(0.1, waiting=logs.waiting, answers=logs.answers, ids=logs.ids)
        yield Ground(logs, hasty, logs.requests("host-a"), logs.requests("host-b"))
        return
    async with open_redis(request.getfixturevalue("redis_url")) as client:
        a, b = (RedisLogRequests(client, "test", f"host-{name}") for name in "ab")
        yield Ground(RedisLogs(client, "test"), RedisLogs(client, "test", 0.1), a, b)


async def asked(requests: LogRequests) -> LogRequest:
    found: list[LogRequest] = []

    async def one() -> bool:
        request = await requests.next()
        found.extend([request] if request else [])
        return bool(found)

    assert await eventually(one)
    return found[0]


async def test_lines_come_from_the_agent_of_that_host(ground: Ground) -> None:
    asking = asyncio.create_task(ground.logs.ask("host-a", 2, 10))
    request = await asked(ground.a)
    assert (request.slot, request.lines) == (2, 10)
    assert await ground.b.next() is None
    await ground.a.answer(request, LogAnswer(("one", "zwölf")))
    assert await asking == ("one", "zwölf")
    assert await ground.a.next() is None


async def test_answers_reach_who_asked(ground: Ground) -> None:
    first = asyncio.create_task(ground.logs.ask("host-a", 1, 1))
    one = await asked(ground.a)
    second = asyncio.create_task(ground.logs.ask("host-a", 2, 1))
    two = await asked(ground.a)
    await ground.a.answer(two, LogAnswer(("two",)))
    await ground.a.answer(one, LogAnswer(("one",)))
    assert (await first, await second) == (("one",), ("two",))


async def test_what_an_agent_could_not_read_is_an_error(ground: Ground) -> None:
    asking = asyncio.create_task(ground.logs.ask("host-a", 1, 1))
    await ground.a.answer(await asked(ground.a), LogAnswer(error="The engine does not answer."))
    with pytest.raises(RuntimeUnavailable, match="does not answer"):
        await asking


async def test_agent_that_does_not_answer_is_named(ground: Ground) -> None:
    with pytest.raises(AgentSilent, match="agent of host-b did not answer"):
        await ground.hasty.ask("host-b", 1, 1)


async def test_answer_that_nobody_waits_for_does_no_harm(ground: Ground) -> None:
    await ground.a.answer(LogRequest("gone", 1, 1), LogAnswer(("late",)))


@pytest.fixture(params=["fake", "redis"])
async def unreachable(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Logs, LogRequests]]:
    if request.param == "fake":
        logs = FakeLogs(down=True)
        yield logs, logs.requests("host-a")
        return
    async with open_redis("redis://127.0.0.1:1/0") as client:
        yield RedisLogs(client, "test"), RedisLogRequests(client, "test", "host-a")


async def test_lost_redis_is_an_error_on_both_sides(unreachable: tuple[Logs, LogRequests]) -> None:
    logs, requests = unreachable
    with pytest.raises(BusUnavailable):
        await logs.ask("host-a", 1, 1)
    with pytest.raises(BusUnavailable):
        await requests.next()
