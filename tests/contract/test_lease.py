"""What every lease must do, the one in Redis and the fake alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.domain.errors import BusUnavailable
from controlplane.ports.lease import Lease
from tests.fakes.lease import FakeLease
from tests.fakes.redis import FakeRedis
from tests.fakes.world import World
from tests.waiting import eventually

TTL_S = 5.0
SHORT_TTL_S = 0.05


class Ground:
    """A lease, a second look at the same key, and time that can be let pass."""

    def __init__(self, lease: Lease, other: Lease, world: World | None) -> None:
        self.lease = lease
        self.other = other
        self._world = world

    async def expired(self) -> bool:
        if self._world is not None:
            self._world.now += SHORT_TTL_S

        async def gone() -> bool:
            return await self.lease.holder() is None

        return await eventually(gone)


@pytest.fixture(params=["fake", "redis"])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    if request.param == "fake":
        world = World()
        redis = FakeRedis(world)
        yield Ground(FakeLease(redis, "test"), FakeLease(redis, "other"), world)
        return
    async with open_redis(request.getfixturevalue("redis_url")) as client:
        yield Ground(RedisLease(client, "test"), RedisLease(client, "other"), None)


async def test_free_lease_is_taken_and_names_its_holder(ground: Ground) -> None:
    assert await ground.lease.holder() is None
    assert await ground.lease.acquire("host-a:1", 7, TTL_S)
    assert await ground.lease.holder() == ("host-a:1", 7)


async def test_held_lease_is_refused_to_others(ground: Ground) -> None:
    await ground.lease.acquire("a", 1, TTL_S)
    assert not await ground.lease.acquire("b", 2, TTL_S)
    assert not await ground.lease.acquire("a", 2, TTL_S)
    assert await ground.lease.holder() == ("a", 1)


async def test_acquire_whose_answer_was_lost_can_be_repeated(ground: Ground) -> None:
    await ground.lease.acquire("a", 1, TTL_S)
    assert await ground.lease.acquire("a", 1, TTL_S)


async def test_environments_do_not_share_a_lease(ground: Ground) -> None:
    await ground.lease.acquire("a", 1, TTL_S)
    assert await ground.other.acquire("b", 1, TTL_S)


async def test_expired_lease_goes_to_the_next(ground: Ground) -> None:
    await ground.lease.acquire("a", 1, SHORT_TTL_S)
    assert await ground.expired()
    assert not await ground.lease.renew("a", 1, TTL_S)
    assert await ground.lease.acquire("b", 2, TTL_S)


async def test_renewed_lease_outlives_its_first_ttl(ground: Ground) -> None:
    await ground.lease.acquire("a", 1, SHORT_TTL_S)
    await ground.other.acquire("clock", 1, SHORT_TTL_S)
    assert await ground.lease.renew("a", 1, TTL_S)
    ground.lease, ground.other = ground.other, ground.lease
    assert await ground.expired()
    assert await ground.other.holder() == ("a", 1)


async def test_lease_of_another_epoch_is_neither_renewed_nor_released(ground: Ground) -> None:
    await ground.lease.acquire("a", 2, TTL_S)
    assert not await ground.lease.renew("a", 1, TTL_S)
    await ground.lease.release("a", 1)
    await ground.lease.release("b", 2)
    assert await ground.lease.holder() == ("a", 2)


async def test_released_lease_is_free_at_once(ground: Ground) -> None:
    await ground.lease.acquire("a", 1, TTL_S)
    await ground.lease.release("a", 1)
    assert await ground.lease.acquire("b", 2, TTL_S)


@pytest.fixture(params=["fake", "redis"])
async def unreachable(request: pytest.FixtureRequest) -> AsyncIterator[Lease]:
    if request.param == "fake":
        redis = FakeRedis(World())
        redis.down = True
        yield FakeLease(redis, "test")
        return
    async with open_redis("redis://127.0.0.1:1/0") as client:
        yield RedisLease(client, "test")


async def test_every_call_on_a_lost_redis_is_one_kind_of_error(unreachable: Lease) -> None:
    for call in (
        unreachable.acquire("a", 1, TTL_S),
        unreachable.renew("a", 1, TTL_S),
        unreachable.release("a", 1),
        unreachable.holder(),
    ):
        with pytest.raises(BusUnavailable):
            await call
