"""The table of files."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from camp.database.engine import TimedBase


class File(TimedBase):
    """A file that is whole in the storage; there are no rows of uploads under way.

    Nobody may see half a file, and an instance that dies in an upload leaves no row to tidy up.
    """

    __tablename__ = "files"
    __table_args__ = (
        Index("ix_files_project_id_id", "project_id", "id"),
        Index("ix_files_user_id", "user_id"),
        CheckConstraint("size > 0", name="size"),
    )

    # By name, not by class: slices do not know each other.
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    name: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
