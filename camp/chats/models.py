"""The tables of chats."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from camp.database.engine import TimedBase


class Chat(TimedBase):
    """A conversation of one user. Ids sort by time, so the index serves the newest first."""

    __tablename__ = "chats"
    __table_args__ = (Index("ix_chats_user_id_id", "user_id", "id"),)

    # By name, not by class: slices do not know each other.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str]


class Message(TimedBase):
    """One turn. An answer names its question, which has one answer at the most."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("ix_messages_chat_id_id", "chat_id", "id"),
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
    )

    chat_id: Mapped[UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"))
    role: Mapped[Literal["user", "assistant"]] = mapped_column(String)
    content: Mapped[str]
    in_reply_to: Mapped[UUID | None] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), unique=True
    )
    # Of answers only, and None for those of releases that did not count.
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    model: Mapped[str | None]
    # Only the beginning was said: the client left, the instance drained, or the model failed.
    cut: Mapped[bool] = mapped_column(server_default=false(), default=False)
    # While more is being said. Whoever says it sets it anew; when it has passed, they are gone.
    said_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
