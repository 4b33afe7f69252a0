"""The tables of projects."""

from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    column,
    table,
)
from sqlalchemy.orm import Mapped, mapped_column

from camp.database.engine import TimedBase
from camp.membership import ProjectRole

# By name, not by class: slices do not know each other.
USERS = table("users", column("id"), column("subject"), column("display_name"), column("role"))


class Project(TimedBase):
    """What people work on together; `version` counts its changes."""

    __tablename__ = "projects"

    name: Mapped[str]
    description: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)


class Member(TimedBase):
    """A user in a project. The index beside the key serves "the projects of a user"."""

    __tablename__ = "project_members"
    __table_args__ = (
        UniqueConstraint("project_id", "user_id"),
        Index("ix_project_members_user_id_project_id", "user_id", "project_id"),
        CheckConstraint(
            f"role IN ({', '.join(repr(role.value) for role in ProjectRole)})", name="role"
        ),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    # By name, not by class: slices do not know each other.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    role: Mapped[ProjectRole] = mapped_column(String)
