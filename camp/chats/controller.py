"""Routes of chats."""

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, delete, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from camp.auth.identity import Principal
from camp.chats import answer, resuming
from camp.chats.answering import Answerer, Question
from camp.chats.schemas import ChatDetail, ChatOut, ChatPage, DayUsage, NewChat, Prompt
from camp.chats.service import ChatService
from camp.config.settings import Settings
from camp.errors import ChatNotFound, LastEventIdInvalid, MessageNotFound, TooManyStreams
from camp.http.sse import EventStream

ChatRequest = Request[Principal, Any, Any]
Limit = Annotated[int, QueryParameter(ge=1, le=100)]
Days = Annotated[int, QueryParameter(ge=1, le=366, description="How many days, with today.")]
LastEventId = Annotated[str | None, HeaderParameter(name="Last-Event-ID")]


class ChatController(Controller):
    """Chats of the signed-in user."""

    path = "/chats"
    tags = ("chats",)

    @post("/")
    async def create(self, request: ChatRequest, state: State, data: JSONBody[NewChat]) -> ChatOut:
        """Open a chat."""
        chats: ChatService = state.chats
        return await chats.create(request.user.user_id, data.title)

    @get("/")
    async def page(
        self,
        request: ChatRequest,
        state: State,
        before: FromQuery[UUID | None] = None,
        limit: Limit = 20,
    ) -> ChatPage:
        """The user's chats, newest first."""
        chats: ChatService = state.chats
        return await chats.page(request.user.user_id, before, limit)

    @get("/usage")
    async def usage(self, request: ChatRequest, state: State, days: Days = 30) -> list[DayUsage]:
        """The tokens that your answers took, by day (UTC); days without answers are left out."""
        chats: ChatService = state.chats
        return await chats.usage(request.user.user_id, days)

    @get("/{chat_id:uuid}", refuses=(ChatNotFound,))
    async def detail(
        self, request: ChatRequest, state: State, chat_id: FromPath[UUID]
    ) -> ChatDetail:
        """A chat with its latest messages."""
        chats: ChatService = state.chats
        return await chats.detail(request.user.user_id, chat_id)

    @delete("/{chat_id:uuid}", refuses=(ChatNotFound,))
    async def delete(self, request: ChatRequest, state: State, chat_id: FromPath[UUID]) -> None:
        """Delete a chat with all that was said in it."""
        chats: ChatService = state.chats
        await chats.delete(request.user.user_id, chat_id)

    @post(
        "/{chat_id:uuid}/stream",
        status_code=200,
        refuses=(ChatNotFound, MessageNotFound, LastEventIdInvalid, TooManyStreams),
    )
    async def stream(
        self,
        request: ChatRequest,
        state: State,
        chat_id: FromPath[UUID],
        data: JSONBody[Prompt],
        last_event_id: LastEventId = None,
    ) -> EventStream:
        """Say something and stream the answer, or go on with one after its Last-Event-ID.

        Events: `token` with an id, then `done`. `draining` asks to resume on another instance;
        `error` says whether the same request helps. Comments are heartbeats. The resumed answer is
        the one the id names; the body's content is then not looked at.
        """
        settings: Settings = state.settings
        user_id = request.user.user_id
        with ExitStack() as held:
            held.enter_context(state.streams.place(user_id))
            events = await _events(state, request.user, chat_id, data, last_event_id)
            return EventStream(events, settings.stream_stall_s, held.pop_all())


async def _events(
    state: State, user: Principal, chat_id: UUID, prompt: Prompt, last_event_id: str | None
) -> AsyncGenerator[bytes, None]:
    user_id = user.user_id
    mark = None if last_event_id is None else resuming.parse_mark(last_event_id)
    if mark is not None:
        await state.chats.question(user_id, chat_id, mark.question_id)
        return resuming.stream(mark, state.chats, state.lifecycle)
    if last_event_id is None and state.answerer is not None and not user.is_checks:
        return await _told(state, user_id, chat_id, prompt.content)
    wanted = await _answer(state, user_id, chat_id, prompt, last_event_id)
    heartbeat_s: float = state.settings.chat_heartbeat_s
    return answer.stream(wanted, state.provider, state.keeping, state.lifecycle, heartbeat_s)


async def _told(
    state: State, user_id: UUID, chat_id: UUID, content: str
) -> AsyncGenerator[bytes, None]:
    chats: ChatService = state.chats
    answerer: Answerer = state.answerer
    question_id = await chats.ask(user_id, chat_id, content)
    turns = await chats.turns(chat_id, question_id)
    return answerer.stream(Question(chat_id, question_id, turns))


async def _answer(
    state: State, user_id: UUID, chat_id: UUID, prompt: Prompt, last_event_id: str | None
) -> answer.Answer:
    chats: ChatService = state.chats
    settings: Settings = state.settings
    delay_ms = prompt.token_delay_ms
    delay_s = (settings.echo_token_delay_ms if delay_ms is None else delay_ms) / 1000
    if last_event_id is None:
        question_id = await chats.ask(user_id, chat_id, prompt.content)
        return answer.Answer(
            chat_id=chat_id, question_id=question_id, prompt=prompt.content, delay_s=delay_s
        )
    place = answer.parse_place(last_event_id)
    question = await chats.question(user_id, chat_id, place.question_id)
    return answer.Answer(
        chat_id=chat_id,
        question_id=place.question_id,
        prompt=question,
        delay_s=delay_s,
        spoken=await answer.spoken_until(state.provider, question, place.token),
    )
