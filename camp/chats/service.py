"""What can be done with chats."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Date, bindparam, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from camp.chats.model_port import Turn, Usage
from camp.chats.models import Chat, Message
from camp.chats.schemas import ChatDetail, ChatOut, ChatPage, DayUsage, MessageOut
from camp.database.engine import Sessions, Statements, uuid7
from camp.errors import ChatNotFound, MessageNotFound

NO_SUCH_CHAT = "You have no such chat. GET /api/v1/chats lists yours."
MESSAGES_SHOWN = 200
# About 25,000 tokens of English: what every current model takes, at a price one can foresee.
TURNS_CHARS = 100_000
TURNS_TOLD = 100


_LISTED = (Chat.id, Chat.title, Chat.created_at)
_OWN = (
    select(*_LISTED)
    .where(Chat.user_id == bindparam("user_id"))
    .order_by(Chat.id.desc())
    .limit(bindparam("limit"))
)
_OPEN = insert(Chat).returning(*_LISTED)
_DELETE = (
    delete(Chat)
    .where(Chat.id == bindparam("chat_id"), Chat.user_id == bindparam("user_id"))
    .returning(Chat.id)
)
_OLDER = _OWN.where(Chat.id < bindparam("before"))


class Said(msgspec.Struct, frozen=True):
    """An answer to keep: who said it, what it took if that was told, and whether it is cut.

    `more_within_s`: it goes on, and is kept again by then; None once it has ended.
    """

    content: str
    model: str
    usage: Usage | None = None
    cut: bool = False
    more_within_s: float | None = None


class KeptAnswer(msgspec.Struct, frozen=True):
    """An answer that is kept."""

    id: UUID
    content: str
    completion_tokens: int | None
    cut: bool
    under_way: bool


class ChatService:
    """Use cases of chats; each is one statement or one short session."""

    def __init__(self, sessions: Sessions, statements: Statements) -> None:
        self._sessions = sessions
        self._statements = statements

    async def create(self, user_id: UUID, title: str) -> ChatOut:
        """Open a chat."""
        made = {"id": uuid7(), "user_id": user_id, "title": title}
        (row,) = await self._statements.run(_OPEN, made)
        return ChatOut(*row)

    async def page(self, user_id: UUID, before: UUID | None, limit: int) -> ChatPage:
        """The user's chats from the newest, or from the one before `before`."""
        wanted = {"user_id": user_id, "limit": limit + 1}
        if before is None:
            rows = await self._statements.run(_OWN, wanted)
        else:
            rows = await self._statements.run(_OLDER, wanted | {"before": before})
        items = [ChatOut(*row) for row in rows[:limit]]
        return ChatPage(items=items, next=items[-1].id if len(rows) > limit else None)

    async def detail(self, user_id: UUID, chat_id: UUID) -> ChatDetail:
        """A chat of this user with its latest messages. Raises ChatNotFound."""
        latest = select(Message).where(Message.chat_id == chat_id).order_by(Message.id.desc())
        async with self._sessions() as session:
            chat = _owned(await session.get(Chat, chat_id), user_id)
            messages = (await session.scalars(latest.limit(MESSAGES_SHOWN))).all()
        shown = [_message_out(message) for message in reversed(messages)]
        return ChatDetail(chat.id, chat.title, chat.created_at, shown)

    async def delete(self, user_id: UUID, chat_id: UUID) -> None:
        """Delete a chat with all that was said in it. Raises ChatNotFound."""
        gone = {"user_id": user_id, "chat_id": chat_id}
        if not await self._statements.run(_DELETE, gone):
            raise ChatNotFound(NO_SUCH_CHAT)

    async def ask(self, user_id: UUID, chat_id: UUID, content: str) -> UUID:
        """Keep what the user said, before anything is answered; its id. Raises ChatNotFound."""
        message = Message(chat_id=chat_id, role="user", content=content)
        async with self._sessions.begin() as session:
            _owned(await session.get(Chat, chat_id), user_id)
            session.add(message)
        return message.id

    async def question(self, user_id: UUID, chat_id: UUID, message_id: UUID) -> str:
        """What the user said in that message. Raises ChatNotFound, MessageNotFound."""
        async with self._sessions() as session:
            _owned(await session.get(Chat, chat_id), user_id)
            message = await session.get(Message, message_id)
        if message is None or message.chat_id != chat_id or message.role != "user":
            raise MessageNotFound("This chat has no such message. Send a new one instead.")
        return message.content

    async def transcript(self, user_id: UUID, chat_id: UUID) -> str:
        """The latest messages that a model takes, a paragraph each. Raises ChatNotFound."""
        async with self._sessions() as session:
            _owned(await session.get(Chat, chat_id), user_id)
            told = latest(await _said(session, Message.chat_id == chat_id))
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in reversed(told))

    async def turns(self, chat_id: UUID, question_id: UUID) -> list[Turn]:
        """What a model is told: the question, and before it as many whole turns as fit."""
        until = (Message.chat_id == chat_id, Message.id <= question_id)
        async with self._sessions() as session:
            return bounded(await _said(session, *until))

    async def answer_to(self, question_id: UUID) -> KeptAnswer | None:
        """The answer as far as it is kept; None while there is none."""
        under_way = func.coalesce(Message.said_until > func.now(), False)
        find = select(
            Message.id, Message.content, Message.completion_tokens, Message.cut, under_way
        )
        async with self._sessions() as session:
            found = await session.execute(find.where(Message.in_reply_to == question_id))
            row = found.one_or_none()
        return None if row is None else KeptAnswer(*row)

    async def keep_answer(self, chat_id: UUID, question_id: UUID, said: Said) -> UUID:
        """Keep the answer, over what was kept while it was under way; its id.

        A second instance that finished it too changes nothing.
        """
        find = select(Message.id).where(Message.in_reply_to == question_id)
        more_s = said.more_within_s
        content = {
            "content": said.content,
            "prompt_tokens": said.usage and said.usage.prompt_tokens,
            "completion_tokens": said.usage and said.usage.completion_tokens,
            "model": said.model,
            "cut": said.cut,
            "said_until": None if more_s is None else func.now() + timedelta(seconds=more_s),
        }
        make = insert(Message).values(
            id=uuid7(), chat_id=chat_id, role="assistant", in_reply_to=question_id, **content
        )
        keep = make.on_conflict_do_update(
            index_elements=["in_reply_to"],
            set_=content | {"updated_at": func.now()},
            where=Message.said_until.is_not(None),
        )
        async with self._sessions.begin() as session:
            await session.execute(keep)
            return (await session.scalars(find)).one()

    async def vouch(self, question_id: UUID, within_s: float) -> None:
        """An answer that is under way is kept again `within_s`, not sooner."""
        under_way = (Message.in_reply_to == question_id, Message.said_until.is_not(None))
        until = func.now() + timedelta(seconds=within_s)
        vouched = update(Message).where(*under_way).values(said_until=until)
        async with self._sessions.begin() as session:
            await session.execute(vouched.execution_options(synchronize_session=False))

    async def usage(self, user_id: UUID, days: int) -> list[DayUsage]:
        """What the user's answers took on each of the last `days` days (UTC) that had some."""
        day = cast(func.timezone("UTC", Message.created_at), Date)
        first = cast(func.timezone("UTC", func.now()), Date) - (days - 1)
        query = (
            select(
                day.label("day"),
                func.count(),
                func.sum(Message.prompt_tokens),
                func.sum(Message.completion_tokens),
            )
            .join(Chat, Chat.id == Message.chat_id)
            .where(Chat.user_id == user_id, Message.role == "assistant", day >= first)
            .group_by("day")
            .order_by("day")
        )
        async with self._sessions() as session:
            rows = (await session.execute(query)).all()
        return [DayUsage(day, count, asked or 0, told or 0) for day, count, asked, told in rows]


def bounded(newest_first: Sequence[Turn]) -> list[Turn]:
    """In order, the latest ones (the question itself in any case), from a user's turn on."""
    told = latest(newest_first)
    while told[-1].role == "assistant":
        told.pop()
    return told[::-1]


def latest(newest_first: Sequence[Turn]) -> list[Turn]:
    """As many as fit into TURNS_CHARS, and the newest in any case."""
    told: list[Turn] = []
    room = TURNS_CHARS
    for turn in newest_first:
        room -= len(turn.content)
        if told and room < 0:
            break
        told.append(turn)
    return told


async def _said(session: AsyncSession, *where: ColumnElement[bool]) -> list[Turn]:
    """The newest TURNS_TOLD turns, newest first; those without a word are left out."""
    said = select(Message.role, Message.content).where(*where, Message.content != "")
    rows = await session.execute(said.order_by(Message.id.desc()).limit(TURNS_TOLD))
    return [Turn(role, content) for role, content in rows]


def _owned(chat: Chat | None, user_id: UUID) -> Chat:
    if chat is None or chat.user_id != user_id:
        raise ChatNotFound(NO_SUCH_CHAT)
    return chat


def _message_out(message: Message) -> MessageOut:
    return MessageOut(
        message.id,
        message.role,
        message.content,
        message.in_reply_to,
        message.created_at,
        message.prompt_tokens,
        message.completion_tokens,
        message.cut,
    )
