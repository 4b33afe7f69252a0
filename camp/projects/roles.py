"""What a user is in a project: from the cache, else from PostgreSQL."""

from typing import Any
from uuid import UUID

from sqlalchemy import Select, literal, select

from camp.auth.identity import Principal
from camp.cache import Cache
from camp.database.engine import Sessions
from camp.membership import ProjectRole
from camp.projects.models import Member, Project

TTL_S = 30.0
NONE = ""
# All of them have the same role: whoever asks first asks for the others too.
SYSTEM_ADMINS = "system-admins"


class CachedRoles:
    """The roles of all projects; who has none is remembered as well."""

    def __init__(self, sessions: Sessions, cache: Cache) -> None:
        self._sessions = sessions
        self._cache = cache

    async def role(self, project_id: UUID, principal: Principal) -> ProjectRole | None:
        """The role, None for who has none; a SYSTEM_ADMIN manages every project that exists."""
        field, query = _question(project_id, principal)

        async def load() -> str:
            async with self._sessions() as session:
                return await session.scalar(query) or NONE

        found = await self._cache.get(project_id.hex, field, load)
        return None if found == NONE else ProjectRole(found)


def _question(project_id: UUID, principal: Principal) -> tuple[str, Select[Any]]:
    """The cache's field for this user, and what fills it."""
    if principal.is_system_admin:
        manages = literal(ProjectRole.PROJECT_MANAGER.value)
        return SYSTEM_ADMINS, select(manages).where(Project.id == project_id)
    user_id = principal.user_id
    query = select(Member.role).where(Member.project_id == project_id, Member.user_id == user_id)
    return user_id.hex, query
