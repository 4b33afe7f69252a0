from __future__ import annotations

import asyncio
from typing import Any, Self

from controlplane.adapters.redis.bus import RedisBus

DEADLINE_S = 5.0


class Deaf:
    """A driver that keeps cancellations to itself, as redis-py does once in a while."""

    def __init__(self) -> None:
        self.listens = asyncio.Event()

    def pubsub(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def subscribe(self, *_: str) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def get_message(self, timeout: float) -> None:
        self.listens.set()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


async def test_bus_ends_although_the_driver_swallows_the_cancellation() -> None:
    driver: Any = Deaf()
    bus = RedisBus(driver, "local", ("leader",))
    waiting = asyncio.create_task(bus.wait(DEADLINE_S))
    await driver.listens.wait()
    async with asyncio.timeout(DEADLINE_S):
        await bus.close()
    waiting.cancel()
