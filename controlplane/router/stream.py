"""Events as `text/event-stream`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send
from msgspec import json

from controlplane.domain.errors import Invalid
from controlplane.router.control import EventStreams
from controlplane.router.tail import Tail
from controlplane.router.views import event_view
from controlplane.wire import EventView

HEARTBEAT_INTERVAL_S = 10.0
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
# Sent at once, so that the client has its headers before the first event.
HELLO = b": events\n\n"
HEARTBEAT = b": heartbeat\n\n"
DRAINING = b'event: draining\ndata: {"reason":"this instance drains; reconnect"}\n\n'


class EventResponse(ASGIStreamingResponse):
    """A stream whose generator is closed as soon as its client is gone."""

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        super().__init__(iterator=frames, media_type="text/event-stream", headers=HEADERS)

    async def send_body(self, send: Send, receive: Receive) -> None:
        # Without this the generator's `finally` blocks, and the stream's count, would wait for
        # the garbage collector when a client goes away.
        assert isinstance(self.iterator, AsyncGenerator)
        async with aclosing(self.iterator):
            await super().send_body(send, receive)


async def frames(
    streams: EventStreams, tail: Tail, after: int, rollout: str | None
) -> AsyncGenerator[bytes, None]:
    """Every event above `after`, of one rollout if named, until this instance drains."""
    with streams.event_stream():
        yield HELLO
        batches = tail.follow(after, streams.draining, HEARTBEAT_INTERVAL_S)
        async with aclosing(batches):
            async for batch in batches:
                wanted = [e for e in batch if rollout is None or e.rollout == rollout]
                text = b"".join(encode(event_view(event)) for event in wanted)
                if text or not batch:
                    yield text or HEARTBEAT
        yield DRAINING


def encode(event: EventView) -> bytes:
    """One event; its id is what Last-Event-ID resumes after."""
    head = f"id: {event.id}\nevent: {event.kind}\ndata: "
    return head.encode() + json.encode(event) + b"\n\n"


def resume_after(last_event_id: str | None) -> int | None:
    """The id in a Last-Event-ID header. Raises Invalid."""
    if not last_event_id:
        return None
    if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        raise Invalid(
            f"Last-Event-ID: {last_event_id!r} is no event id; send the last id you received."
        )
    return int(last_event_id)
