"""What projects look like over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from camp.membership import ProjectRole

# No NUL: PostgreSQL cannot store it in text.
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=120,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        examples=["Annual report"],
    ),
]
Description = Annotated[str, msgspec.Meta(max_length=4000, pattern=r"^[^\x00]*$")]


class NewProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project to make."""

    name: Name
    description: Description = ""


class ProjectPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be changed about a project; what is left out stays."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET


class ProjectOut(msgspec.Struct, frozen=True):
    """A project; `role` is what the caller may do in it, times are UTC."""

    id: UUID
    name: str
    description: str
    role: ProjectRole
    version: int
    created_at: datetime
    updated_at: datetime


class NewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to take into a project."""

    user_id: UUID
    role: ProjectRole = ProjectRole.MEMBER


class MemberPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be changed about a member."""

    role: ProjectRole


class MemberOut(msgspec.Struct, frozen=True):
    """A member of a project; times are UTC."""

    user_id: UUID
    display_name: str
    role: ProjectRole
    created_at: datetime
    updated_at: datetime
