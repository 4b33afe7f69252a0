"""Who may do what in a project: the words that the slices share."""

from enum import StrEnum
from typing import Protocol
from uuid import UUID

from camp.auth.identity import Principal
from camp.errors import ProjectNotFound, RoleTooLow


class ProjectRole(StrEnum):
    """What a member may do; each may do what those after it may."""

    PROJECT_MANAGER = "PROJECT_MANAGER"
    MODERATOR = "MODERATOR"
    MEMBER = "MEMBER"
    VIEWER = "VIEWER"

    def covers(self, needed: "ProjectRole") -> bool:
        """Whether this role may do what `needed` may."""
        return _RANK[self] <= _RANK[needed]


_RANK = {role: rank for rank, role in enumerate(ProjectRole)}


class ProjectRoles(Protocol):
    """Tells what a user is in a project."""

    async def role(self, project_id: UUID, principal: Principal) -> ProjectRole | None:
        """The role, None for who has none; nobody has one in a project that does not exist.

        A SYSTEM_ADMIN is a PROJECT_MANAGER in every project.
        """
        ...


def require(role: ProjectRole | None, needed: ProjectRole) -> ProjectRole:
    """The role, when it covers what is needed. Raises ProjectNotFound, RoleTooLow."""
    if role is None:
        raise ProjectNotFound("You have no such project. GET /api/v1/projects lists yours.")
    if not role.covers(needed):
        raise RoleTooLow(
            f"This needs the role {needed} in the project, and yours is {role}."
            " Ask one of its project managers."
        )
    return role
