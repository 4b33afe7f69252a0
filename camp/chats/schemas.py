"""What chats look like over HTTP."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

# No NUL: PostgreSQL cannot store it in text.
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Content = Annotated[str, msgspec.Meta(min_length=1, max_length=32_000, pattern=r"^[^\x00]*$")]
Role = Literal["user", "assistant"]
TokenDelay = Annotated[int, msgspec.Meta(ge=0, le=5000)]


class NewChat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chat to open."""

    title: Title = "New chat"


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user says; `token_delay_ms` slows the echo provider down, or speeds it up."""

    content: Content
    token_delay_ms: TokenDelay | None = None


class ChatOut(msgspec.Struct, frozen=True):
    """A chat without its messages; times are UTC."""

    id: UUID
    title: str
    created_at: datetime


class ChatPage(msgspec.Struct, frozen=True):
    """Some chats, newest first; `next` goes into `?before=` for the following page."""

    items: list[ChatOut]
    next: UUID | None


class MessageOut(msgspec.Struct, frozen=True):
    """One turn of a chat; answers say what they took, if it was counted, and if they are cut."""

    id: UUID
    role: Role
    content: str
    in_reply_to: UUID | None
    created_at: datetime
    prompt_tokens: int | None
    completion_tokens: int | None
    cut: bool


class DayUsage(msgspec.Struct, frozen=True):
    """What the answers of one day (UTC) took, in the provider's tokens."""

    day: date
    answers: int
    prompt_tokens: int
    completion_tokens: int


class ChatDetail(msgspec.Struct, frozen=True):
    """A chat with its latest messages, oldest first."""

    id: UUID
    title: str
    created_at: datetime
    messages: list[MessageOut]
