"""What can be done with users."""

from collections.abc import Callable
from typing import Literal
from uuid import UUID

from litestar.pagination import OffsetPagination
from sqlalchemy import Update, bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from camp.auth.identity import CHECKS, Identity, Principal, UserRole
from camp.database.engine import Sessions, Statements, uuid7
from camp.errors import Forbidden, LastSystemAdmin, NotFound, SystemAdminOnly, UserNotFound
from camp.http import etags
from camp.http.paging import PageQuery, page
from camp.users.models import User
from camp.users.schemas import UserOut

OrderBy = Literal["display_name", "email", "role", "created_at", "updated_at"]
ADMIN = UserRole.SYSTEM_ADMIN
_ME = select(
    User.id, User.email, User.display_name, User.role, User.created_at, User.updated_at
).where(User.id == bindparam("user_id"))


class UserService:
    """Use cases of users; each is one statement or one short session.

    Whether the caller is a SYSTEM_ADMIN is read from the row each time: a role that is taken away
    is gone with the next request, at every instance.
    """

    def __init__(
        self, sessions: Sessions, statements: Statements, changed: Callable[[Principal], None]
    ) -> None:
        self._sessions = sessions
        self._statements = statements
        self._changed = changed

    async def ensure(self, identity: Identity) -> Principal:
        """The user of this identity, made on the first visit.

        Several instances may see the same first visit at once: one inserts, all find the row.
        """
        claimed = ADMIN in identity.roles
        find = select(User.id, User.role, User.role_from_token).where(
            User.subject == identity.subject
        )
        make = insert(User).values(
            id=uuid7(),
            subject=identity.subject,
            email=identity.email,
            display_name=identity.display_name,
            role=ADMIN if claimed else UserRole.USER,
            role_from_token=claimed,
        )
        async with self._sessions.begin() as session:
            found = (await session.execute(find)).one_or_none()
            if found is None:
                await session.execute(make.on_conflict_do_nothing(index_elements=["subject"]))
                found = (await session.execute(find)).one()
            user_id, role, from_token = found
            if claimed and role != ADMIN:
                role = ADMIN
                await session.execute(_follow_token(user_id, ADMIN, True))
            elif from_token and not claimed:
                role = UserRole.USER
                await session.execute(_follow_token(user_id, UserRole.USER, False))
        return Principal(user_id, identity.subject, UserRole(role))

    async def me(self, principal: Principal) -> UserOut:
        """The caller. Raises NotFound."""
        for row in await self._statements.run(_ME, {"user_id": principal.user_id}):
            return UserOut(*row)
        raise _gone()

    async def get(self, principal: Principal, user_id: UUID) -> UserOut:
        """Any user, for a SYSTEM_ADMIN. Raises SystemAdminOnly, UserNotFound."""
        async with self._sessions() as session:
            await _require_admin(session, principal)
            return _found(await session.get(User, user_id), user_id)

    async def page(
        self, principal: Principal, asked: PageQuery, role: UserRole | None
    ) -> OffsetPagination[UserOut]:
        """The users, for a SYSTEM_ADMIN; of one role, if given. Raises SystemAdminOnly."""
        async with self._sessions() as session:
            await _require_admin(session, principal)
        query = select(User)
        if role is not None:
            query = query.where(User.role == role)
        return await page(
            self._sessions,
            query,
            asked,
            model=User,
            searched={"display_name", "email"},
            out=lambda row: _out(*row),
        )

    async def rename(
        self, principal: Principal, display_name: str, if_match: str | None
    ) -> UserOut:
        """Change the name others see. Raises NotFound, PreconditionFailed."""
        change = update(User).where(User.id == principal.user_id).values(display_name=display_name)
        async with self._sessions() as session:
            # One statement that commits itself. In a transaction the row would stay locked while
            # its answer travels to a busy instance, and others would queue with connections held.
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            if if_match is None:
                return _out(await session.scalar(change.returning(User)))
            seen = _out(await session.get(User, principal.user_id))
            etags.require_match(if_match, tag(seen))
            same = change.where(User.updated_at == seen.updated_at).returning(User)
            renamed = await session.scalar(same, execution_options={"populate_existing": True})
        if renamed is None:
            raise etags.changed_since()
        return _out(renamed)

    async def change_role(
        self, principal: Principal, user_id: UUID, role: UserRole, if_match: str | None
    ) -> UserOut:
        """Give a user another role, as a SYSTEM_ADMIN; whoever listens to changes is told.

        Raises SystemAdminOnly, UserNotFound, Forbidden, PreconditionFailed, LastSystemAdmin.
        """
        concerned = select(User).where(or_(User.role == ADMIN, User.id == user_id))
        # In one order for all: admins who demote each other at once wait here, and the second
        # finds that it is none any more. "No key": other rows may still refer to these.
        lock = concerned.order_by(User.id).with_for_update(key_share=True)
        async with self._sessions.begin() as session:
            users = {user.id: user for user in await session.scalars(lock)}
            admins = {user.id for user in users.values() if user.role == ADMIN}
            _require(principal.user_id in admins)
            user = users.get(user_id)
            if user is not None and user.subject == CHECKS.subject:
                raise Forbidden("The account of checks stays a USER.")
            etags.require_match(if_match, tag(_found(user, user_id)))
            assert user is not None
            if role != ADMIN and admins == {user_id}:
                raise LastSystemAdmin(
                    "This is the last SYSTEM_ADMIN. Make somebody else one first."
                )
            user.role, user.role_from_token = role, False
        self._changed(Principal(user.id, user.subject, role))
        return _out(user)


def tag(user: UserOut) -> str:
    """The ETag of a user as they are now."""
    return etags.etag_at(user.id, user.updated_at)


def _follow_token(user_id: UUID, role: UserRole, from_token: bool) -> Update:
    return update(User).where(User.id == user_id).values(role=role, role_from_token=from_token)


async def _require_admin(session: AsyncSession, principal: Principal) -> None:
    role = await session.scalar(select(User.role).where(User.id == principal.user_id))
    _require(role == ADMIN)


def _require(is_admin: bool) -> None:
    if not is_admin:
        raise SystemAdminOnly("This is for a SYSTEM_ADMIN. Ask one to do it, or for the role.")


def _found(user: User | None, user_id: UUID) -> UserOut:
    if user is None:
        raise UserNotFound(f"There is no user {user_id}. GET /api/v1/users lists them.")
    return _out(user)


def _out(user: User | None) -> UserOut:
    if user is None:
        raise _gone()
    return UserOut(
        user.id,
        user.email,
        user.display_name,
        UserRole(user.role),
        user.created_at,
        user.updated_at,
    )


def _gone() -> NotFound:
    return NotFound("This user no longer exists. Sign in again.")
