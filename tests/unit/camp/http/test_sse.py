from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack

from camp.http import sse


async def numbers(count: int, gate: asyncio.Event | None = None) -> AsyncGenerator[int, None]:
    for number in range(count):
        if gate is not None:
            await gate.wait()
        yield number


def test_event_is_framed_with_id_name_and_one_line_of_json() -> None:
    assert sse.event("token", {"text": "a\nb"}, "m:0") == (
        b'id: m:0\nevent: token\ndata: {"text":"a\\nb"}\n\n'
    )


async def test_all_items_pass_when_nothing_stops_them() -> None:
    stop = asyncio.Event()
    assert [n async for n in sse.until(numbers(3), stop, 1.0)] == [0, 1, 2]


async def test_silence_becomes_heartbeats_and_loses_no_item() -> None:
    gate = asyncio.Event()
    seen: list[int | None] = []
    async for item in sse.until(numbers(2, gate), asyncio.Event(), 0.01):
        seen.append(item)
        if len(seen) == 2:
            gate.set()
    assert seen[:2] == [None, None]
    assert [item for item in seen if item is not None] == [0, 1]


async def test_stop_ends_the_items_while_they_wait() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert [n async for n in sse.until(numbers(2, asyncio.Event()), stop, 5.0)] == []


async def test_client_that_leaves_closes_the_source_at_once() -> None:
    closed = asyncio.Event()
    sending = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield sse.HEARTBEAT
        finally:
            closed.set()

    async def blocked_send(_: object) -> None:
        sending.set()
        await asyncio.Event().wait()

    async def leaving() -> dict[str, str]:
        await sending.wait()
        return {"type": "http.disconnect"}

    source = endless()  # held here, so that no collection closes it
    await sse.EventStream(source, 30).send_body(blocked_send, leaving)  # type: ignore[arg-type]
    assert closed.is_set()


async def test_reader_that_takes_nothing_closes_the_source_and_leaves_its_place() -> None:
    closed, left = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield sse.HEARTBEAT
        finally:
            closed.set()

    async def stalled(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def silent() -> object:
        return await asyncio.Event().wait()

    source = endless()
    with ExitStack() as held:
        held.callback(left.set)
        reply = sse.EventStream(source, 0.01, held.pop_all())
    assert not left.is_set()
    await reply({}, silent, stalled)  # type: ignore[arg-type]
    assert (closed.is_set(), left.is_set()) == (True, True)


async def test_nothing_passes_after_stop() -> None:
    stop = asyncio.Event()
    seen = []
    async for item in sse.until(numbers(9), stop, 5.0):
        seen.append(item)
        stop.set()
    assert seen == [0]
