"""What can be done with projects."""

from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar.pagination import OffsetPagination
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from camp import etags
from camp.auth import Principal
from camp.cache import Cache
from camp.db import Sessions
from camp.membership import ProjectRole, ProjectRoles, require
from camp.paging import PageQuery, page
from camp.projects.models import Member, Project
from camp.projects.schemas import NewProject, ProjectOut, ProjectPatch

OrderBy = Literal["name", "created_at", "updated_at"]


class ProjectService:
    """Use cases of projects; each opens one short session.

    Reads trust the cached role. Whoever changes something asks PostgreSQL, in the transaction
    that changes it.
    """

    def __init__(self, sessions: Sessions, roles: ProjectRoles, cache: Cache) -> None:
        self._sessions = sessions
        self._roles = roles
        self._cache = cache

    async def create(self, principal: Principal, new: NewProject) -> ProjectOut:
        """Make a project, with the caller as its manager."""
        project = Project(name=new.name, description=new.description)
        async with self._sessions.begin() as session:
            session.add(project)
            await session.flush()
            manager = ProjectRole.PROJECT_MANAGER
            session.add(Member(project_id=project.id, user_id=principal.user_id, role=manager))
        return out(project, manager)

    async def page(self, principal: Principal, asked: PageQuery) -> OffsetPagination[ProjectOut]:
        """The projects that the caller is a member of."""
        query = (
            select(Project, Member.role)
            .join(Member, Member.project_id == Project.id)
            .where(Member.user_id == principal.user_id)
        )
        return await page(
            self._sessions,
            query,
            asked,
            model=Project,
            searched={"name", "description"},
            out=lambda row: out(*row),
        )

    async def get(self, principal: Principal, project_id: UUID) -> ProjectOut:
        """A project of the caller. Raises ProjectNotFound."""
        role = require(await self._roles.role(project_id, principal), ProjectRole.VIEWER)
        async with self._sessions() as session:
            project = await session.get(Project, project_id)
        if project is None:  # deleted since
            require(None, ProjectRole.VIEWER)
        assert project is not None
        return out(project, role)

    async def update(
        self, principal: Principal, project_id: UUID, patch: ProjectPatch, if_match: str | None
    ) -> ProjectOut:
        """Change a project. Raises ProjectNotFound, RoleTooLow, PreconditionFailed."""
        async with self._sessions.begin() as session:
            project, role = await locked(session, project_id, principal)
            require(role, ProjectRole.PROJECT_MANAGER)
            etags.require_match(if_match, tag(project))
            changes = msgspec.structs.asdict(patch)
            for name, value in changes.items():
                if value is not msgspec.UNSET:
                    setattr(project, name, value)
            project.version += 1
        return out(project, role)

    async def delete(self, principal: Principal, project_id: UUID, if_match: str | None) -> None:
        """Delete a project with all that is in it. Raises as `update` does."""
        async with self._cache.changing(project_id.hex), self._sessions.begin() as session:
            project, role = await locked(session, project_id, principal)
            require(role, ProjectRole.PROJECT_MANAGER)
            etags.require_match(if_match, tag(project))
            await session.execute(delete(Project).where(Project.id == project_id))


async def locked(
    session: AsyncSession, project_id: UUID, principal: Principal
) -> tuple[Project, ProjectRole]:
    """The project and the caller's role; others who change it or its members wait for the end.

    Raises ProjectNotFound.
    """
    # "No key": files and members of other transactions may still refer to the row.
    lock = select(Project).where(Project.id == project_id).with_for_update(key_share=True)
    project = await session.scalar(lock)
    # A second statement, so that it sees what the one it waited for has committed.
    mine = select(Member.role).where(
        Member.project_id == project_id, Member.user_id == principal.user_id
    )
    found = await session.scalar(mine) if project is not None else None
    role = require(None if found is None else ProjectRole(found), ProjectRole.VIEWER)
    assert project is not None
    return project, role


def tag(project: Project | ProjectOut) -> str:
    """The ETag of a project as it is now."""
    return etags.etag(project.id, project.version)


def out(project: Project, role: Any) -> ProjectOut:
    """A project as the holder of `role` sees it."""
    return ProjectOut(
        project.id,
        project.name,
        project.description,
        ProjectRole(role),
        project.version,
        project.created_at,
        project.updated_at,
    )
