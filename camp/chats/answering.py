"""Answers of a real model: said by a task of their own, and kept however they end."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import UUID

import msgspec
import structlog

from camp.chats.keeping import KEEP_TIMEOUT_S, Keeping
from camp.chats.model_port import ModelProvider, Piece, Turn, Usage
from camp.chats.providers import limits_s, paced
from camp.chats.service import Said
from camp.config.settings import Settings
from camp.errors import CampError, DatabaseUnavailable, ModelFailed, ModelUnavailable
from camp.http import sse
from camp.lifecycle import Lifecycle

log = structlog.get_logger("camp.chats")

# What was said is kept this often while more comes: so much is lost when the instance is killed.
KEEP_EVERY_S = 2.0
# Who is not heard of for three times that long is gone.
MORE_WITHIN_S = 3 * KEEP_EVERY_S
# What a client may be behind before the model is no longer read from.
EVENTS_AHEAD = 100

Events = asyncio.Queue[bytes | None]
"""Encoded events; None after the last one."""


class Question(msgspec.Struct, frozen=True):
    """What is to be answered; the last turn is the question itself."""

    chat_id: UUID
    question_id: UUID
    turns: Sequence[Turn]


class Saying:
    """An answer as far as it was said."""

    def __init__(self, question_id: UUID) -> None:
        self._question_id = question_id
        self._texts: list[str] = []
        self.size = 0
        self.whole = False
        self.usage: Usage | None = None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, piece: Piece) -> bytes | None:
        """Take the piece in; the event that tells it, if it is to be told."""
        if isinstance(piece, Usage):
            self.usage = piece
            return None
        # PostgreSQL keeps no NUL, and half a surrogate pair has no UTF-8.
        text = piece.replace("\x00", "").encode("utf-8", "replace").decode()
        self._texts.append(text)
        self.size += len(text.encode())
        return token(self._question_id, text, self.size) if text else None


class Answerer:
    """Asks the model and streams what it says; `close` ends what still runs."""

    def __init__(
        self,
        model: ModelProvider,
        keeping: Keeping,
        lifecycle: Lifecycle,
        settings: Settings,
        *,
        keep_every_s: float = KEEP_EVERY_S,
    ) -> None:
        self._model = model
        self._keeping = keeping
        self._lifecycle = lifecycle
        self._limits_s = limits_s(settings)
        # The model may be silent for so long, or the reader, whom we wait for before we ask on.
        silence_s = max(settings.llm_token_timeout_s, settings.stream_stall_s)
        self._silence_s = silence_s + KEEP_TIMEOUT_S
        self._keep_every_s = keep_every_s
        self._heartbeat_s = settings.chat_heartbeat_s
        self._answers: set[asyncio.Task[None]] = set()

    async def stream(self, question: Question) -> AsyncGenerator[bytes, None]:
        """Events: `token` each, then `done` or `error`; or `draining` when the time is up.

        Leaving the stream ends the request to the model; what was said so far is kept.
        """
        events = Events(EVENTS_AHEAD)
        # A task of its own: leaving cancels us again and again until we are gone, and what was
        # said could not be kept in between.
        saying = asyncio.create_task(self._answer(question, events))
        self._answers.add(saying)
        saying.add_done_callback(self._answers.discard)
        try:
            source = _taken(events)
            async with (
                aclosing(source),
                aclosing(sse.until(source, self._lifecycle.expired, self._heartbeat_s)) as shown,
            ):
                async for event in shown:
                    yield sse.HEARTBEAT if event is None else event
            if self._lifecycle.expired.is_set():
                saying.cancel()
                await asyncio.wait({saying}, timeout=KEEP_TIMEOUT_S)
                yield sse.event("draining", {"resume": "send Last-Event-ID again"})
        finally:
            saying.cancel()

    async def close(self) -> None:
        """Keep what was said, and give the model's connections back."""
        for saying in self._answers:
            saying.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        await self._keeping.close()
        await self._model.close()

    async def _answer(self, question: Question, events: Events) -> None:
        saying = Saying(question.question_id)
        with self._lifecycle.chat_stream():
            ending: bytes
            try:
                await self._say_and_keep(question, saying, events)
            except asyncio.CancelledError:
                await self._keep(question, saying, cut=not saying.whole)
                raise
            except ModelFailed as error:
                ending = await self._failed(question, saying, error)
            except Exception:
                log.exception("model answered nonsense", question_id=str(question.question_id))
                nonsense = ModelUnavailable("The model's answer could not be read. Ask again.")
                ending = await self._failed(question, saying, nonsense)
            else:
                ending = await self._finished(question, saying)
            await events.put(ending)
            await events.put(None)

    async def _say_and_keep(self, question: Question, saying: Saying, events: Events) -> None:
        keeping = asyncio.create_task(self._keep_so_far(question, saying))
        try:
            await self._say(question, saying, events)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_so_far(self, question: Question, saying: Saying) -> None:
        """Keep it when more was said; in a silence vouch once for as long as one may last."""
        kept, vouched = 0, False
        while True:
            await asyncio.sleep(self._keep_every_s)
            size = saying.size
            if size != kept:
                done = await self._keep(question, saying, cut=True, more_within_s=MORE_WITHIN_S)
                kept, vouched = (size if done else kept), False
            elif size and not vouched:
                vouched = await self._keeping.vouch(question.question_id, self._silence_s)

    async def _say(self, question: Question, saying: Saying, events: Events) -> None:
        pieces = paced(self._model.answer(question.turns), *self._limits_s)
        async with aclosing(pieces):
            async for piece in pieces:
                event = saying.add(piece)
                if event is not None:
                    await events.put(event)
            saying.whole = True

    async def _failed(self, question: Question, saying: Saying, error: ModelFailed) -> bytes:
        await self._keep(question, saying, cut=True)
        # Who has heard the beginning would hear the same beginning again, and the same end.
        return fault(error, retryable=error.retryable and saying.size == 0)

    async def _finished(self, question: Question, saying: Saying) -> bytes:
        answer_id = await self._keep(question, saying, cut=False)
        if answer_id is None:
            lost = DatabaseUnavailable("The answer could not be kept. It is not in the chat.")
            return fault(lost, retryable=False)
        tokens = None if saying.usage is None else saying.usage.completion_tokens
        return done(question.question_id, answer_id, tokens)

    async def _keep(
        self,
        question: Question,
        saying: Saying,
        *,
        cut: bool,
        more_within_s: float | None = None,
    ) -> UUID | None:
        """The answer's id, or None when nothing was said of it or it could not be kept."""
        if cut and not saying.size:
            return None
        said = Said(saying.text, self._model.model, saying.usage, cut, more_within_s)
        return await self._keeping.keep(question.chat_id, question.question_id, said)


def token(question_id: UUID, text: str, size: int) -> bytes:
    """The event that says `text`; its id counts the answer's bytes up to its end."""
    return sse.event("token", {"text": text}, f"{question_id}:@{size}")


def done(question_id: UUID, answer_id: UUID, tokens: int | None) -> bytes:
    """The event that ends a whole answer."""
    return sse.event("done", {"message_id": question_id, "answer_id": answer_id, "tokens": tokens})


def fault(error: CampError, *, retryable: bool) -> bytes:
    """The event that ends an answer which is not whole; retrying is the same request again."""
    return sse.event("error", {"code": error.code, "detail": str(error), "retryable": retryable})


async def _taken(events: Events) -> AsyncGenerator[bytes, None]:
    while (event := await events.get()) is not None:
        yield event
