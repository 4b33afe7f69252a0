"""What users look like over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from camp.auth.identity import UserRole


class UserOut(msgspec.Struct, frozen=True):
    """A user; times are UTC."""

    id: UUID
    email: str
    display_name: str
    role: UserRole
    created_at: datetime
    updated_at: datetime


class UserPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What users may change about themselves."""

    # No NUL: PostgreSQL cannot store it in text.
    display_name: Annotated[
        str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")
    ]


class RolePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a SYSTEM_ADMIN may change about a user."""

    role: UserRole
