"""One reader serves all streams of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from controlplane.domain.errors import Invalid, StoreUnavailable
from controlplane.ports.bus import Bus
from controlplane.ports.ledger import Event
from controlplane.router.stream import resume_after
from controlplane.router.tail import Tail
from tests.waiting import eventually


class Log:
    """The part of a ledger that a tail reads."""

    def __init__(self, count: int = 0) -> None:
        self.entries = [_event(i + 1) for i in range(count)]
        self.reads = 0
        self.down = False
        self.nudged = asyncio.Event()

    def write(self) -> None:
        self.entries.append(_event(len(self.entries) + 1))
        self.nudged.set()

    async def events(
        self, after: int, environment: str | None, rollout: str | None, limit: int
    ) -> tuple[Event, ...]:
        self.reads += 1
        if self.down:
            raise StoreUnavailable("down")
        return tuple(e for e in self.entries if e.id > after)[:limit]

    async def last_event(self) -> int:
        if self.down:
            raise StoreUnavailable("down")
        return len(self.entries)

    async def nudge(self, *topics: str) -> None:
        self.nudged.set()

    async def wait(self, timeout_s: float) -> bool:
        """Nudges only: a test that passes does not rest on the clock."""
        await self.nudged.wait()
        self.nudged.clear()
        return True

    @asynccontextmanager
    async def listen(self, environment: str) -> AsyncIterator[Bus]:
        yield self


def a_tail(log: Log, kept: int = 100) -> Tail:
    return Tail(log, "local", log.listen, kept)  # type: ignore[arg-type]  # the part it reads


async def test_a_follower_gets_what_is_stored_and_then_what_comes() -> None:
    log, stop = Log(3), asyncio.Event()
    async with aclosing(a_tail(log).follow(1, stop, 60.0)) as batches:
        assert [e.id for e in await anext(batches)] == [2, 3]
        log.write()
        assert [e.id for e in await anext(batches)] == [4]


async def test_many_followers_cost_one_reader() -> None:
    log, stop = Log(), asyncio.Event()
    tail = a_tail(log)
    streams = [tail.follow(0, stop, 60.0) for _ in range(20)]
    waits = [asyncio.ensure_future(_next(s)) for s in streams]
    assert await eventually(lambda: log.reads >= 1)
    before = log.reads
    log.write()
    assert [e[0].id for e in await asyncio.gather(*waits)] == [1] * 20
    assert log.reads - before <= 2
    for stream in streams:
        await stream.aclose()


async def test_a_follower_far_behind_reads_the_log_itself() -> None:
    log, stop = Log(), asyncio.Event()
    tail = a_tail(log, kept=2)
    async with aclosing(tail.follow(0, stop, 60.0)) as first:
        for number in range(5):
            log.write()
            assert (await anext(first))[0].id == number + 1
        async with aclosing(tail.follow(0, stop, 60.0)) as second:
            assert [e.id for e in await anext(second)] == [1, 2, 3, 4, 5]


async def test_silence_gives_heartbeats_and_stop_ends_it() -> None:
    log, stop = Log(), asyncio.Event()
    batches = a_tail(log).follow(0, stop, 0.01)
    assert await anext(batches) == ()
    stop.set()
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


async def test_a_database_that_comes_back_is_followed_again() -> None:
    log, stop = Log(), asyncio.Event()
    log.down = True
    async with aclosing(a_tail(log).follow(0, stop, 60.0)) as batches:
        coming = asyncio.ensure_future(_next(batches))
        assert await eventually(lambda: log.reads >= 1)
        log.down = False
        log.write()
        assert [e.id for e in await coming] == [1]


async def test_the_reader_rests_when_nobody_follows() -> None:
    log, stop = Log(1), asyncio.Event()
    tail = a_tail(log)
    async with aclosing(tail.follow(0, stop, 60.0)) as batches:
        await anext(batches)
    reads = log.reads
    log.write()
    async with aclosing(tail.follow(1, stop, 60.0)) as batches:
        assert [e.id for e in await anext(batches)] == [2]
    assert log.reads > reads


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "٣", "9" * 30])
def test_a_wrong_last_event_id_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="Last-Event-ID"):
        resume_after(text)


def test_no_last_event_id_is_none() -> None:
    assert resume_after(None) is None
    assert resume_after("17") == 17


async def _next(batches: AsyncIterator[tuple[Event, ...]]) -> tuple[Event, ...]:
    return await anext(batches)


def _event(number: int) -> Event:
    return Event(number, "local", None, "test", f"event {number}", 0.0)
