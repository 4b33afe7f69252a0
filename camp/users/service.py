"""What can be done with users."""

from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from camp.auth import Identity
from camp.db import Sessions, Statements, uuid7
from camp.errors import NotFound
from camp.users.models import User
from camp.users.schemas import UserOut

_ME = select(User.id, User.email, User.display_name, User.created_at, User.updated_at).where(
    User.id == bindparam("user_id")
)


class UserService:
    """Use cases of users; each is one statement or one short session."""

    def __init__(self, sessions: Sessions, statements: Statements) -> None:
        self._sessions = sessions
        self._statements = statements

    async def ensure(self, identity: Identity) -> UUID:
        """The id of this identity's user, made on the first visit.

        Several instances may see the same first visit at once: one inserts, all find the row.
        """
        find = select(User.id).where(User.subject == identity.subject)
        make = insert(User).values(
            id=uuid7(),
            subject=identity.subject,
            email=identity.email,
            display_name=identity.display_name,
        )
        async with self._sessions.begin() as session:
            found = await session.scalar(find)
            if found is not None:
                return found
            await session.execute(make.on_conflict_do_nothing(index_elements=["subject"]))
            return (await session.scalars(find)).one()

    async def get(self, user_id: UUID) -> UserOut:
        """The user. Raises NotFound."""
        for row in await self._statements.run(_ME, {"user_id": user_id}):
            return UserOut(*row)
        raise _gone()

    async def rename(self, user_id: UUID, display_name: str) -> UserOut:
        """Change the name others see. Raises NotFound."""
        change = update(User).where(User.id == user_id).values(display_name=display_name)
        async with self._sessions() as session:
            # One statement that commits itself. In a transaction the row would stay locked while
            # its answer travels to a busy instance, and others would queue with connections held.
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            return _out(await session.scalar(change.returning(User)))


def _out(user: User | None) -> UserOut:
    if user is None:
        raise _gone()
    return UserOut(user.id, user.email, user.display_name, user.created_at, user.updated_at)


def _gone() -> NotFound:
    return NotFound("This user no longer exists. Sign in again.")
