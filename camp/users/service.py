"""What can be done with users."""

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from camp.auth import Identity
from camp.db import Sessions, uuid7
from camp.errors import NotFound
from camp.users.models import User
from camp.users.schemas import UserOut


class UserService:
    """Use cases of users; each opens one short session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

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
        async with self._sessions() as session:
            return _out(await session.get(User, user_id))

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
        raise NotFound("This user no longer exists. Sign in again.")
    return UserOut(user.id, user.email, user.display_name, user.created_at, user.updated_at)
