"""What a user is in a project: from the cache, else from PostgreSQL."""

from uuid import UUID

from sqlalchemy import select

from camp.auth import Principal
from camp.cache import Cache
from camp.db import Sessions
from camp.membership import ProjectRole
from camp.projects.models import Member

TTL_S = 30.0
NONE = ""


class CachedRoles:
    """The roles of all projects; who has none is remembered as well."""

    def __init__(self, sessions: Sessions, cache: Cache) -> None:
        self._sessions = sessions
        self._cache = cache

    async def role(self, project_id: UUID, principal: Principal) -> ProjectRole | None:
        """The role, None for who has none."""
        user_id = principal.user_id
        query = select(Member.role).where(
            Member.project_id == project_id, Member.user_id == user_id
        )

        async def load() -> str:
            async with self._sessions() as session:
                return await session.scalar(query) or NONE

        found = await self._cache.get(project_id.hex, user_id.hex, load)
        return None if found == NONE else ProjectRole(found)
