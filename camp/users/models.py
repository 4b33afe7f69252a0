"""The users table."""

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from camp.auth.identity import UserRole
from camp.database.engine import TimedBase


class User(TimedBase):
    """Somebody who has signed in; `subject` is the identity provider's name for them.

    `role_from_token` tells a role that goes when the token no longer names it from one that a
    SYSTEM_ADMIN has given.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(f"role IN ({', '.join(repr(r.value) for r in UserRole)})", name="role"),
        Index("ix_users_role", "role"),
    )

    subject: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str]
    display_name: Mapped[str]
    role: Mapped[UserRole] = mapped_column(String, default=UserRole.USER)
    role_from_token: Mapped[bool] = mapped_column(default=False)
