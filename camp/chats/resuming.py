"""Answers of a real model, told again from a place on, by any instance."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from camp.chats.answering import done, fault, token
from camp.chats.service import ChatService, KeptAnswer
from camp.errors import AnswerCut, AnswerLost, DatabaseUnavailable
from camp.http import sse
from camp.lifecycle import Lifecycle

log = structlog.get_logger("camp.chats")

# The instance before us may not see for a while that its client is gone, and say on: most answers
# end within this time.
AWAITED_S = 30.0
POLL_S = 0.25
_MARK = re.compile(r"([0-9a-fA-F-]{36}):@([0-9]{1,9})")


class Mark(msgspec.Struct, frozen=True):
    """A place in a model's answer: the question, and the bytes of the answer already heard."""

    question_id: UUID
    heard: int


def parse_mark(last_event_id: str) -> Mark | None:
    """The place that a Last-Event-ID header names; None when it is no model's answer."""
    found = _MARK.fullmatch(last_event_id)
    if found is None:
        return None
    try:
        return Mark(UUID(found[1]), int(found[2]))
    except ValueError:
        return None


async def stream(
    mark: Mark, chats: ChatService, lifecycle: Lifecycle, awaited_s: float = AWAITED_S
) -> AsyncGenerator[bytes, None]:
    """Events: what is kept after the place as `token`, then `done`, or `error` if it is cut.

    An answer that another stream still says is followed as it is kept; one that nobody goes on
    with, since its instance was killed, is cut where it was kept last. `draining` asks to go on
    elsewhere.
    """
    deadline = time.monotonic() + awaited_s
    try:
        while (kept := await chats.answer_to(mark.question_id)) is None or kept.under_way:
            if kept is not None:
                for event in _new(mark, kept):
                    yield event
                mark = Mark(mark.question_id, max(mark.heard, len(kept.content.encode())))
            elif time.monotonic() >= deadline:
                lost = AnswerLost("What was said is not kept. Ask the question again.")
                yield fault(lost, retryable=False)
                return
            if lifecycle.expired.is_set():
                yield sse.event("draining", {"resume": "send Last-Event-ID again"})
                return
            yield sse.HEARTBEAT
            await asyncio.sleep(POLL_S)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("answer not read", question_id=str(mark.question_id), cause=repr(error))
        away = DatabaseUnavailable("The answer cannot be read. Send Last-Event-ID in a moment.")
        yield fault(away, retryable=True)
        return
    for event in _rest(mark, kept):
        yield event


def _new(mark: Mark, kept: KeptAnswer) -> list[bytes]:
    content = kept.content.encode()
    rest = content[mark.heard :].decode("utf-8", "replace")
    return [token(mark.question_id, rest, len(content))] if rest else []


def _rest(mark: Mark, kept: KeptAnswer) -> list[bytes]:
    events = _new(mark, kept)
    if kept.cut:
        cut = AnswerCut("The answer ends here; what was said is kept. Ask for the rest.")
        return [*events, fault(cut, retryable=False)]
    return [*events, done(mark.question_id, kept.id, kept.completion_tokens)]
