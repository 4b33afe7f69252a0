"""What can be done with projects."""

from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar.pagination import OffsetPagination
from sqlalchemy import Select, delete, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from camp.auth.identity import Principal, UserRole
from camp.cache import Cache
from camp.database.engine import Sessions
from camp.http import etags
from camp.http.paging import PageQuery, page
from camp.membership import ProjectRole, ProjectRoles, require
from camp.projects.models import USERS, Member, Project
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
        """The projects that the caller is a member of, for a SYSTEM_ADMIN all of them."""
        return await page(
            self._sessions,
            _visible(principal),
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
    found = await _role(session, project_id, principal) if project is not None else None
    role = require(found, ProjectRole.VIEWER)
    assert project is not None
    return project, role


async def _role(
    session: AsyncSession, project_id: UUID, principal: Principal
) -> ProjectRole | None:
    """What the caller is in a project that exists, as the database has it now."""
    user_id = principal.user_id
    of_user = select(USERS.c.role).where(USERS.c.id == user_id)
    of_member = select(Member.role).where(
        Member.project_id == project_id, Member.user_id == user_id
    )
    both = select(of_user.scalar_subquery(), of_member.scalar_subquery())
    user, member = (await session.execute(both)).one()
    if user == UserRole.SYSTEM_ADMIN:
        return ProjectRole.PROJECT_MANAGER
    return None if member is None else ProjectRole(member)


def _visible(principal: Principal) -> Select[*tuple[Any, ...]]:
    """The projects that the caller may see, each with what they are in it."""
    if principal.is_system_admin:
        return select(Project, literal(ProjectRole.PROJECT_MANAGER.value).label("role"))
    mine = select(Project, Member.role).join(Member, Member.project_id == Project.id)
    return mine.where(Member.user_id == principal.user_id)


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
