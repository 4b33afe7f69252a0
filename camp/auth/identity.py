"""What signing in makes of a token: who it says the bearer is, and whom a request acts for."""

from enum import StrEnum
from uuid import UUID

import msgspec


class UserRole(StrEnum):
    """What a user may do beside their own work: everything in every project and with users."""

    SYSTEM_ADMIN = "SYSTEM_ADMIN"
    USER = "USER"


class Identity(msgspec.Struct, frozen=True):
    """What a verified token says about its bearer; `roles` are the names its claim lists."""

    subject: str
    email: str
    display_name: str
    roles: frozenset[str] = frozenset()


# No directory names anybody so.
CHECKS = Identity("camp:smoke", "", "camp smoke")
"""The account of `camp smoke`: what it makes is its own, it is never more than a USER, in nobody's
project, and is answered by the echo."""


class Principal(msgspec.Struct, frozen=True):
    """The user a request acts for; the role is as old as the authenticator's look-up."""

    user_id: UUID
    subject: str
    role: UserRole = UserRole.USER

    @property
    def is_checks(self) -> bool:
        return self.subject == CHECKS.subject

    @property
    def is_system_admin(self) -> bool:
        return self.role == UserRole.SYSTEM_ADMIN
