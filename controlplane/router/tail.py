"""One reader of the event log per process and environment, shared by all its streams."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import structlog

from controlplane.domain.errors import StoreUnavailable
from controlplane.ports.bus import Bus
from controlplane.ports.ledger import Event, Ledger

log = structlog.get_logger("controlplane.tail")

POLL_INTERVAL_S = 1.0
PAGE = 500
KEPT = 1000


class Tail:
    """Reads while somebody follows: woken by nudges, and every second without one.

    Followers that are further behind than what is kept here read the log themselves.
    """

    def __init__(
        self,
        ledger: Ledger,
        environment: str | None,
        listener: Callable[[str], AbstractAsyncContextManager[Bus]],
        kept: int = KEPT,
    ) -> None:
        self._ledger = ledger
        self._kept = kept
        self._environment = environment
        self._listener = listener
        self._recent: deque[Event] = deque()
        # Every event above the floor is in `_recent`; infinite while nothing is read.
        self._floor: float = math.inf
        self._changed = asyncio.Event()
        self._followers = 0
        self._reader: asyncio.Task[None] | None = None

    async def follow(
        self, after: int, stop: asyncio.Event, heartbeat_s: float
    ) -> AsyncGenerator[tuple[Event, ...], None]:
        """Events above `after` in batches, an empty one per `heartbeat_s` of silence."""
        async with self._joined():
            while not stop.is_set():
                changed = self._changed  # taken before reading, so that no change is missed
                batch = await self._batch(after)
                if batch:
                    after = batch[-1].id
                    yield batch
                elif not await _first(changed, stop, heartbeat_s):
                    yield ()

    async def _batch(self, after: int) -> tuple[Event, ...]:
        if after >= self._floor:
            return tuple(event for event in self._recent if event.id > after)
        try:
            return await self._ledger.events(after, self._environment, None, PAGE)
        except StoreUnavailable:
            return ()

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[None]:
        self._followers += 1
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="event tail")
        try:
            yield
        finally:
            self._followers -= 1
            if self._followers == 0:
                await self._rest()

    async def _rest(self) -> None:
        reader, self._reader = self._reader, None
        self._floor = math.inf
        self._recent.clear()
        if reader is not None:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    async def _read(self) -> None:
        last: int | None = None
        async with self._waking() as wait:
            while True:
                try:
                    if last is None:
                        last = await self._ledger.last_event()
                        self._floor = last
                        self._announce()
                    last, full = await self._page(last)
                except Exception as error:  # noqa: BLE001 - all streams hang on this loop
                    log.warning("event log not read", error=str(error) or type(error).__name__)
                    full = False
                if not full:
                    await wait()

    async def _page(self, last: int) -> tuple[int, bool]:
        fresh = await self._ledger.events(last, self._environment, None, PAGE)
        if not fresh:
            return last, False
        self._recent.extend(fresh)
        while len(self._recent) > self._kept:
            self._floor = self._recent.popleft().id
        self._announce()
        return fresh[-1].id, len(fresh) == PAGE

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def _waking(self) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        if self._environment is None:
            yield lambda: asyncio.sleep(POLL_INTERVAL_S)
            return
        async with self._listener(self._environment) as bus:
            yield lambda: bus.wait(POLL_INTERVAL_S)


class Tails:
    """The tails of one process, one an environment; None follows all environments."""

    def __init__(
        self, ledger: Ledger, listener: Callable[[str], AbstractAsyncContextManager[Bus]]
    ) -> None:
        self._ledger = ledger
        self._listener = listener
        self._tails: dict[str | None, Tail] = {}

    def of(self, environment: str | None) -> Tail:
        if environment not in self._tails:
            self._tails[environment] = Tail(self._ledger, environment, self._listener)
        return self._tails[environment]


async def _first(changed: asyncio.Event, stop: asyncio.Event, limit_s: float) -> bool:
    """Wait for either; false when the limit passed first."""
    waits = {asyncio.ensure_future(changed.wait()), asyncio.ensure_future(stop.wait())}
    try:
        done, _ = await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)
