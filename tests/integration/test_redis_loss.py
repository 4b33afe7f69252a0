"""A Redis that hangs, dies and comes back, seen through the lease and the bus."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.domain.errors import BusUnavailable
from controlplane.embedded.servers import RedisServer, start_redis

DEADLINE_S = 10.0


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    server = start_redis(tmp_path)
    yield server
    server.stop()


async def test_hung_redis_is_an_error_within_two_seconds(own_redis: RedisServer) -> None:
    async with open_redis(own_redis.url()) as client:
        lease = RedisLease(client, "test")
        assert await lease.acquire("a", 1, 60)
        os.kill(own_redis.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(BusUnavailable):
            await lease.renew("a", 1, 60)
        took_s = time.monotonic() - began
        os.kill(own_redis.pid, signal.SIGCONT)
        assert took_s < 2
        assert await lease.renew("a", 1, 60)


async def test_bus_subscribes_again_after_redis_was_restarted(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    async with (
        open_redis(own_redis.url()) as client,
        RedisBus(client, "test", ("leader",)) as bus,
    ):
        own_redis.stop()
        await bus.nudge("leader")
        assert not await bus.wait(0.05)
        again = start_redis(tmp_path, own_redis.port)
        try:
            # What was lost in between shows as one wake-up, then nudges arrive as before.
            assert await bus.wait(DEADLINE_S)
            await bus.nudge("leader")
            assert await bus.wait(DEADLINE_S)
        finally:
            again.stop()
