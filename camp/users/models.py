"""The users table."""

from sqlalchemy.orm import Mapped, mapped_column

from camp.db import TimedBase


class User(TimedBase):
    """Somebody who has signed in; `subject` is the identity provider's name for them."""

    __tablename__ = "users"

    subject: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str]
    display_name: Mapped[str]
