"""What can be done with the members of a project."""

from typing import Any, Literal
from uuid import UUID

from litestar.pagination import OffsetPagination
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from camp.auth.identity import CHECKS, Principal
from camp.cache import Cache
from camp.database.engine import Sessions
from camp.errors import AlreadyMember, LastManager, MemberNotFound, UserUnknown
from camp.http import etags
from camp.http.paging import PageQuery, page
from camp.membership import ProjectRole, ProjectRoles, require
from camp.projects.models import USERS, Member
from camp.projects.schemas import MemberOut, NewMember
from camp.projects.service import locked

OrderBy = Literal["role", "created_at", "updated_at"]
UNIQUE_VIOLATION = "23505"


class MemberService:
    """Use cases of members. The project's row is locked first: changes happen one by one."""

    def __init__(self, sessions: Sessions, roles: ProjectRoles, cache: Cache) -> None:
        self._sessions = sessions
        self._roles = roles
        self._cache = cache

    async def page(
        self, principal: Principal, project_id: UUID, asked: PageQuery
    ) -> OffsetPagination[MemberOut]:
        """The members, for any of them. Raises ProjectNotFound."""
        require(await self._roles.role(project_id, principal), ProjectRole.VIEWER)
        query = _members(project_id)
        return await page(
            self._sessions,
            query,
            asked,
            model=Member,
            searched=set(),
            out=lambda row: _out(*row),
        )

    async def get(self, principal: Principal, project_id: UUID, user_id: UUID) -> MemberOut:
        """A member, for any of them. Raises ProjectNotFound, MemberNotFound."""
        require(await self._roles.role(project_id, principal), ProjectRole.VIEWER)
        async with self._sessions() as session:
            return await _one(session, project_id, user_id)

    async def add(self, principal: Principal, project_id: UUID, new: NewMember) -> MemberOut:
        """Take a user in. Raises ProjectNotFound, RoleTooLow, UserUnknown, AlreadyMember."""
        async with self._cache.changing(project_id.hex), self._sessions.begin() as session:
            await _managed(session, project_id, principal)
            await _refuse_checks(session, new.user_id)
            session.add(Member(project_id=project_id, user_id=new.user_id, role=new.role))
            try:
                await session.flush()
            except IntegrityError as error:
                raise _refused(error, new.user_id) from error
            return await _one(session, project_id, new.user_id)

    async def change(
        self,
        principal: Principal,
        project_id: UUID,
        user_id: UUID,
        role: ProjectRole,
        if_match: str | None = None,
    ) -> MemberOut:
        """Give a member another role.

        Raises ProjectNotFound, RoleTooLow, MemberNotFound, PreconditionFailed, LastManager.
        """
        async with self._cache.changing(project_id.hex), self._sessions.begin() as session:
            await _managed(session, project_id, principal)
            member = await _member(session, project_id, user_id)
            etags.require_match(if_match, tag(member))
            if role != ProjectRole.PROJECT_MANAGER:
                await _spare_last_manager(session, member)
            member.role = role
            await session.flush()
            return await _one(session, project_id, user_id)

    async def remove(self, principal: Principal, project_id: UUID, user_id: UUID) -> None:
        """Take a member out; everybody may leave by themselves. Raises as `change` does."""
        async with self._cache.changing(project_id.hex), self._sessions.begin() as session:
            if user_id == principal.user_id:
                await locked(session, project_id, principal)
            else:
                await _managed(session, project_id, principal)
            member = await _member(session, project_id, user_id)
            await _spare_last_manager(session, member)
            await session.delete(member)


def tag(member: Member | MemberOut) -> str:
    """The ETag of a member as they are now."""
    return etags.etag_at(member.user_id, member.updated_at)


async def _managed(session: AsyncSession, project_id: UUID, principal: Principal) -> None:
    _, role = await locked(session, project_id, principal)
    require(role, ProjectRole.PROJECT_MANAGER)


async def _refuse_checks(session: AsyncSession, user_id: UUID) -> None:
    """Its token is in every host's file: it must not lead to what people work on."""
    subject = await session.scalar(select(USERS.c.subject).where(USERS.c.id == user_id))
    if subject == CHECKS.subject:
        raise UserUnknown(
            f"user_id: {user_id} is the account of checks, which joins no project."
            " Choose somebody else."
        )


async def _member(session: AsyncSession, project_id: UUID, user_id: UUID) -> Member:
    query = select(Member).where(Member.project_id == project_id, Member.user_id == user_id)
    member = await session.scalar(query)
    if member is None:
        raise _not_in_it()
    return member


async def _spare_last_manager(session: AsyncSession, member: Member) -> None:
    """Raises LastManager when the project would have no manager without this one."""
    if member.role != ProjectRole.PROJECT_MANAGER:
        return
    managers = select(func.count()).where(
        Member.project_id == member.project_id, Member.role == ProjectRole.PROJECT_MANAGER
    )
    if (await session.scalar(managers) or 0) < 2:
        raise LastManager(
            "A project needs a manager, and this is its last. Make another member"
            " PROJECT_MANAGER first, or delete the project."
        )


def _refused(error: IntegrityError, user_id: UUID) -> AlreadyMember | UserUnknown:
    if getattr(error.orig, "sqlstate", None) == UNIQUE_VIOLATION:
        return AlreadyMember(
            f"user_id: {user_id} is in this project already. Change the role with PATCH."
        )
    return UserUnknown(f"user_id: there is no user {user_id}. Correct it, then send it again.")


def _members(project_id: UUID) -> Any:
    joined = select(Member, USERS.c.display_name).join(USERS, USERS.c.id == Member.user_id)
    return joined.where(Member.project_id == project_id)


async def _one(session: AsyncSession, project_id: UUID, user_id: UUID) -> MemberOut:
    query = _members(project_id).where(Member.user_id == user_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise _not_in_it()
    return _out(*row)


def _not_in_it() -> MemberNotFound:
    return MemberNotFound("That user is not in this project. List its members first.")


def _out(member: Member, display_name: str) -> MemberOut:
    role = ProjectRole(member.role)
    return MemberOut(member.user_id, display_name, role, member.created_at, member.updated_at)
