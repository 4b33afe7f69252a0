"""One chat stream as a careful client sees it: complete, in order, resumed when it is asked to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec

from controlplane.demo.measure.http1 import Broken, Http

OPEN_TIMEOUT_S = 10.0
# Instances send a heartbeat every 5 s.
SILENCE_S = 15.0


class Cut(Exception):
    """A stream that ended, or said something, that no client can go on with."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    id: str
    data: str


@dataclass(slots=True)
class Answer:
    """What has arrived of one answer. Tokens are numbered from 0 behind the question's id."""

    prompt: str
    question: str = ""
    tokens: int = 0
    text: str = ""

    @property
    def last_event_id(self) -> str:
        """The id of the last token; empty before the first one."""
        return f"{self.question}:{self.tokens - 1}" if self.tokens else ""

    def take(self, event: Event) -> None:
        """Add a token. Raises Cut when it is not the one that had to come next."""
        question = self.question or event.id.partition(":")[0]
        expected = f"{question}:{self.tokens}"
        if event.id != expected:
            raise Cut(f"token {event.id or 'without an id'} came where {expected} was due")
        self.question = question
        self.tokens += 1
        self.text += _text(event)

    def finish(self) -> None:
        """Raises Cut when the whole answer, which echoes the prompt, is not there."""
        if self.text != self.prompt:
            raise Cut(f"done after {len(self.text)} of {len(self.prompt)} characters")


Standing = Callable[[], AbstractContextManager[None]]
"""Entered for as long as a stream stands."""


async def follow(http: Http, path: str, prompt: str, delay_ms: int, standing: Standing) -> int:
    """Read one answer to its end; the number of times it was resumed on another instance.

    Resuming is not a retry: only `event: draining` asks for it, and nothing may be lost or come
    twice. Raises Cut.
    """
    answer, resumed = Answer(prompt), 0
    body = {"content": prompt, "token_delay_ms": delay_ms}
    try:
        while not await _read(http, path, body, answer, standing):
            resumed += 1
    except Broken as broken:
        raise Cut(f"after {answer.tokens} tokens: {broken}") from broken
    return resumed


async def _read(http: Http, path: str, body: object, answer: Answer, standing: Standing) -> bool:
    """One connection's part of the answer; false when it shall be resumed elsewhere."""
    headers = {"last-event-id": answer.last_event_id} if answer.last_event_id else {}
    async with http.stream("POST", path, body, OPEN_TIMEOUT_S, headers) as response:
        if not response.ok:
            text = (await response.body(OPEN_TIMEOUT_S)).decode(errors="replace")
            raise Cut(f"{response.status} after {answer.tokens} tokens: {text[:200]}")
        done = resume = False
        with standing():
            async for event in events(response.chunks(SILENCE_S)):
                match event.name:
                    case "token":
                        answer.take(event)
                    case "done":
                        answer.finish()
                        done = True
                    case "draining":
                        resume = True
                    case _:
                        raise Cut(f"event {event.name}: {event.data[:200]}")
    if not done and not resume:
        raise Cut(f"ended after {answer.tokens} tokens without done")
    return done


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """The events in a body; comments, which are heartbeats, are passed over."""
    buffer = b""
    async for chunk in chunks:
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            fields = dict(
                line.split(": ", 1) for line in block.decode().splitlines() if line[:1] != ":"
            )
            if fields:
                yield Event(fields.get("event", ""), fields.get("id", ""), fields.get("data", ""))


def _text(event: Event) -> str:
    try:
        return str(msgspec.json.decode(event.data)["text"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise Cut(f"{event.name} carries {event.data[:200]!r}") from error
