"""The table of runs."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from camp.database.engine import TimedBase

State = Literal["waiting", "running", "succeeded", "failed", "cancelled"]
ACTIVE = ("waiting", "running")
ENDED = ("succeeded", "failed", "cancelled")


class Run(TimedBase):
    """Background work of one user.

    `due_at` is when a worker may take it: its turn while waiting, the end of the lease while
    running. `fence` grows with every take, `attempt` only with those that count. At
    `expires_at` what has not ended fails.
    """

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        Index("ix_runs_user_id_id", "user_id", "id"),
        Index("ix_runs_due_at", "due_at", postgresql_where=text("state IN ('waiting', 'running')")),
        Index(
            "ix_runs_ended",
            "updated_at",
            postgresql_where=text("state IN ('succeeded', 'failed', 'cancelled')"),
        ),
        CheckConstraint(
            "state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
    )

    # By name, not by class: slices do not know each other.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]
    input: Mapped[dict[str, Any]] = mapped_column(JSONB)
    idempotency_key: Mapped[str | None]
    state: Mapped[State] = mapped_column(String)
    attempt: Mapped[int] = mapped_column(default=0)
    attempts_max: Mapped[int]
    fence: Mapped[int] = mapped_column(default=0)
    holder: Mapped[str | None]
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    steps_done: Mapped[int] = mapped_column(default=0)
    steps_total: Mapped[int | None]
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
