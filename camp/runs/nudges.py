"""Wakes the workers of all instances through Redis; without it they poll."""

import asyncio
from typing import Any

import structlog

log = structlog.get_logger("camp.runs")

CHANNEL = "camp:runs"
LISTEN_S = 30.0
PAUSE_S = 2.0


class Nudges:
    """Wakes this instance at once, the others through Redis (None: by their polls)."""

    def __init__(self, redis: Any, timeout_s: float) -> None:
        self._redis = redis
        self._timeout_s = timeout_s
        self._woken = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen; needs a running event loop."""
        if self._redis is not None:
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    def wake(self) -> None:
        """Wake the worker of this instance."""
        self._woken.set()

    async def send(self) -> None:
        """Wake the workers of all instances; a lost nudge costs them one poll."""
        self.wake()
        if self._redis is None:
            return
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.publish(CHANNEL, b"")
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("nudge lost", cause=repr(error))

    async def wait(self) -> None:
        """Until the next nudge."""
        await self._woken.wait()
        self._woken.clear()

    async def _listen(self) -> None:
        from redis.exceptions import RedisError

        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(CHANNEL)
                    while True:
                        message = await channel.get_message(
                            ignore_subscribe_messages=True, timeout=LISTEN_S
                        )
                        task = asyncio.current_task()
                        if task is not None and task.cancelling():
                            # The driver may keep a cancellation to itself.
                            raise asyncio.CancelledError
                        if message is not None:
                            self.wake()
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("nudges off", cause=repr(error))
                await asyncio.sleep(PAUSE_S)
