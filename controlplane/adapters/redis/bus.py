"""Nudges over Redis pub/sub, on channels `camp:{environment}:nudge:{topic}`."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from controlplane.adapters.redis.client import SOCKET_TIMEOUT_S

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
# A connection that is cut without a word stays silent: after this long we ask, and after as long
# again without an answer we connect anew.
IDLE_S = 10.0


class RedisBus:
    """Nudges for some topics of one environment; without topics it can only send.

    A background task keeps the subscription. It starts with `async with` or the first wait and
    ends with `close`.
    """

    def __init__(self, client: Redis, environment: str, topics: tuple[str, ...] = ()) -> None:
        self._client = client
        self._prefix = f"camp:{environment}:nudge:"
        self._channels = tuple(self._prefix + topic for topic in topics)
        self._nudged = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._missed = False
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Subscribe, waiting for it no longer than a command may take."""
        if self._channels:
            self._start()
            await _within(SOCKET_TIMEOUT_S, self._subscribed)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the subscription; the client stays open, it is its owner's."""
        if self._reader is None:
            return
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._reader = None

    async def nudge(self, *topics: str) -> None:
        """Wake whoever waits for one of the topics."""
        if not topics:
            return
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for topic in topics:
                    pipeline.publish(self._prefix + topic, "")
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.debug("nudge_lost", topics=topics, error=str(error))

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a nudge; one that arrived since the last wait ends this one at once."""
        if self._channels:
            self._start()
        if not await _within(timeout_s, self._nudged):
            return False
        self._nudged.clear()
        return True

    def _start(self) -> None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="redis-bus")

    async def _read(self) -> None:
        """Stay subscribed for ever; pause longer after each failure in a row."""
        pause_s = FIRST_PAUSE_S
        told = False
        while True:
            self._subscribed.clear()
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(*self._channels)
                    await self._listen(pubsub)
            except Exception as error:  # noqa: BLE001 - it must outlive whatever the driver does
                if self._subscribed.is_set() or not told:
                    log.warning("bus_disconnected", error=str(error) or type(error).__name__)
                told = True
            _end_if_cancelled()
            if self._subscribed.is_set():
                pause_s = FIRST_PAUSE_S
            self._missed = True
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _listen(self, pubsub: PubSub) -> None:
        """Return when the connection has been silent although it was asked to answer."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=IDLE_S)
            _end_if_cancelled()
            if message is None and asked:
                return
            asked = message is None
            if message is None:
                await pubsub.ping()
            elif message["type"] == "subscribe":
                self._subscribed.set()
                if self._missed:  # what was sent meanwhile is lost: better wake up once too often
                    self._missed = False
                    self._nudged.set()
            elif message["type"] == "message":
                self._nudged.set()


def _end_if_cancelled() -> None:
    """The driver may keep a cancellation to itself, and then nobody would ever end this task."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _within(timeout_s: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
