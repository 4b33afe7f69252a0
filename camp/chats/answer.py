"""One answer as a stream of events that any instance can go on with."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

import msgspec

from camp.chats.keeping import Keeping
from camp.chats.providers import ChatProvider
from camp.chats.service import Said
from camp.errors import LastEventIdInvalid
from camp.http import sse
from camp.lifecycle import Lifecycle


class Place(msgspec.Struct, frozen=True):
    """A place in an answer: the question's id and the number of the last token received."""

    question_id: UUID
    token: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be streamed; `spoken` are the tokens the client already has."""

    chat_id: UUID
    question_id: UUID
    prompt: str
    delay_s: float
    spoken: tuple[str, ...] = ()


def parse_place(last_event_id: str) -> Place:
    """The place that a Last-Event-ID header names. Raises LastEventIdInvalid."""
    message, _, token = last_event_id.partition(":")
    try:
        question_id = UUID(message)
    except ValueError:
        question_id = None
    if question_id is None or not (token.isascii() and token.isdigit() and len(token) <= 9):
        raise LastEventIdInvalid("Last-Event-ID must be the id of an event of this answer.")
    return Place(question_id, int(token))


async def spoken_until(provider: ChatProvider, prompt: str, last: int) -> tuple[str, ...]:
    """Tokens 0 to `last`, without delay. Raises LastEventIdInvalid when there are fewer."""
    tokens: list[str] = []
    async with aclosing(provider.tokens(prompt, start_at=0, delay_s=0)) as source:
        async for token in source:
            tokens.append(token)
            if len(tokens) > last:
                return tuple(tokens)
    raise LastEventIdInvalid(f"The answer has {len(tokens)} tokens; it cannot go on after {last}.")


async def stream(
    answer: Answer,
    provider: ChatProvider,
    keeping: Keeping,
    lifecycle: Lifecycle,
    heartbeat_s: float,
) -> AsyncGenerator[bytes, None]:
    """Events: `token` each, then `done`; or `draining` when the client shall resume elsewhere.

    Holds no database connection while it streams: the answer is kept at the end.
    """
    spoken = list(answer.spoken)
    source = provider.tokens(answer.prompt, start_at=len(spoken), delay_s=answer.delay_s)
    with lifecycle.chat_stream():
        async with (
            aclosing(source),
            aclosing(sse.until(source, lifecycle.expired, heartbeat_s)) as tokens,
        ):
            async for token in tokens:
                if token is None:
                    yield sse.HEARTBEAT
                    continue
                event_id = f"{answer.question_id}:{len(spoken)}"
                spoken.append(token)
                yield sse.event("token", {"text": token}, event_id)
        if lifecycle.expired.is_set():
            yield sse.event("draining", {"resume": "send Last-Event-ID again"})
        else:
            yield await _ending(answer, spoken, provider, keeping)


async def _ending(
    answer: Answer, spoken: list[str], provider: ChatProvider, keeping: Keeping
) -> bytes:
    """Keep the answer and say so; the client can ask again for what could not be kept."""
    usage = provider.usage(answer.prompt, len(spoken))
    said = Said("".join(spoken), provider.model, usage)
    answer_id = await keeping.keep(answer.chat_id, answer.question_id, said)
    if answer_id is None:
        detail = "The answer could not be kept. Resume with Last-Event-ID in a moment."
        fault = {"code": "database_unavailable", "detail": detail, "retryable": True}
        return sse.event("error", fault)
    done = {"message_id": answer.question_id, "answer_id": answer_id, "tokens": len(spoken)}
    return sse.event("done", done)
