"""Server-sent events: the encoding, a response that always closes its source, and a merge."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from typing import Any

import msgspec
import structlog
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Message, Receive, Scope, Send

log = structlog.get_logger("camp.http.sse")

HEARTBEAT = b": heartbeat\n\n"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(name: str, data: Any, event_id: str | None = None) -> bytes:
    """One event; `data` becomes one line of JSON."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


class _Stalled(Exception):
    """The reader takes nothing any more."""


class EventStream(ASGIStreamingResponse):
    """A `text/event-stream` response over an async generator of encoded events.

    Who takes nothing for `stall_s` is cut off: until then the buffers on the way hold what was
    said. `held` is left when the stream is over.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        stall_s: float,
        held: AbstractContextManager[object] | None = None,
    ) -> None:
        super().__init__(iterator=events, media_type="text/event-stream", headers=HEADERS)
        self._stall_s = stall_s
        self._held = held or nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)

    async def send_body(self, send: Send, receive: Receive) -> None:
        async def sent_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stall_s):
                    await send(message)
            except TimeoutError:
                raise _Stalled from None

        # A client that goes away cancels us inside `send`, where the generator is suspended:
        # without this its `finally` blocks, and our counts, would wait for the garbage collector.
        assert isinstance(self.iterator, AsyncGenerator)
        async with aclosing(self.iterator):
            try:
                await super().send_body(sent_in_time, receive)
            except* _Stalled:
                log.warning("reader stalled", stall_s=self._stall_s)


async def until(
    items: AsyncIterator[Any], stop: asyncio.Event, heartbeat_s: float
) -> AsyncGenerator[Any, None]:
    """The items, None for every `heartbeat_s` without one, and an early end once `stop` is set."""
    stopped = asyncio.ensure_future(stop.wait())
    upcoming: asyncio.Future[Any] | None = None
    try:
        while not stop.is_set():
            upcoming = upcoming or asyncio.ensure_future(anext(items))
            await asyncio.wait(
                {upcoming, stopped}, timeout=heartbeat_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not upcoming.done():
                if not stop.is_set():
                    yield None
                continue
            done, upcoming = upcoming, None
            try:
                item = done.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        stopped.cancel()
        if upcoming is not None:
            upcoming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await upcoming
