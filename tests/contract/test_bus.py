"""What every bus must do, the one in Redis and the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis
from controlplane.ports.bus import Bus
from tests.fakes.bus import FakeBus
from tests.fakes.redis import FakeRedis
from tests.fakes.world import World

SOON_S = 0.05
DEADLINE_S = 5.0


class Ground:
    """A sender and two listeners; `flushed` returns once all nudges so far have arrived."""

    def __init__(self, sender: Bus, leader: Bus, agent: Bus) -> None:
        self.sender, self.leader, self.agent = sender, leader, agent


@pytest.fixture(params=["fake", "redis"])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    if request.param == "fake":
        redis = FakeRedis(World())
        agent = FakeBus(redis, ("host:a", "all"))
        yield Ground(FakeBus(redis), FakeBus(redis, ("leader", "all")), agent)
        return
    async with (
        open_redis(request.getfixturevalue("redis_url")) as client,
        RedisBus(client, "test", ("leader", "all")) as leader,
        RedisBus(client, "test", ("host:a", "all")) as other,
    ):
        yield Ground(RedisBus(client, "test"), leader, other)


async def test_nudge_ends_the_wait_of_those_who_listen_to_its_topic(ground: Ground) -> None:
    await ground.sender.nudge("leader")
    assert await ground.leader.wait(DEADLINE_S)
    assert not await ground.agent.wait(SOON_S)


async def test_wait_without_a_nudge_says_so(ground: Ground) -> None:
    assert not await ground.leader.wait(SOON_S)


async def test_many_nudges_before_a_wait_end_one_wait(ground: Ground) -> None:
    for _ in range(3):
        await ground.sender.nudge("leader")
    # A later nudge on the same connection arrives after all earlier ones.
    await ground.sender.nudge("all")
    assert await ground.agent.wait(DEADLINE_S)
    assert await ground.leader.wait(DEADLINE_S)
    assert not await ground.leader.wait(SOON_S)


async def test_one_call_nudges_several_topics(ground: Ground) -> None:
    await ground.sender.nudge("leader", "host:a")
    assert await ground.leader.wait(DEADLINE_S)
    assert await ground.agent.wait(DEADLINE_S)


async def test_nudge_without_topics_does_nothing(ground: Ground) -> None:
    await ground.sender.nudge()
    assert not await ground.leader.wait(SOON_S)


@pytest.fixture(params=["fake", "redis"])
async def unreachable(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "fake":
        redis = FakeRedis(World())
        redis.down = True
        yield FakeBus(redis, ("leader",))
        return
    async with (
        open_redis("redis://127.0.0.1:1/0") as client,
        RedisBus(client, "test", ("leader",)) as bus,
    ):
        yield bus


async def test_lost_redis_costs_the_nudge_and_nothing_else(unreachable: Bus) -> None:
    await unreachable.nudge("leader")
    assert not await unreachable.wait(SOON_S)


async def test_nudge_wakes_a_wait_that_is_under_way(redis_url: str) -> None:
    async with open_redis(redis_url) as client, RedisBus(client, "test", ("leader",)) as bus:
        waiting = asyncio.create_task(bus.wait(DEADLINE_S))
        await RedisBus(client, "test").nudge("leader")
        assert await waiting
