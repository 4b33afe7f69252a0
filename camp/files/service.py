"""What can be done with files."""

from typing import Literal
from uuid import UUID

import structlog
from litestar.pagination import OffsetPagination
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from camp.auth.identity import Principal
from camp.database.engine import Sessions, uuid7
from camp.database.locks import one_at_a_time
from camp.errors import FileNotFound, ProjectNotFound, StorageUnavailable
from camp.files.errors import QuotaExceeded
from camp.files.models import File
from camp.files.schemas import FileOut
from camp.files.storage import Storage, key_of
from camp.files.upload import Upload, media_type
from camp.http.paging import PageQuery, page
from camp.membership import ProjectRole, ProjectRoles, require

log = structlog.get_logger("camp.files")

OrderBy = Literal["name", "size", "created_at"]


class FileService:
    """Use cases of files. No database connection is held while content comes or goes."""

    def __init__(
        self,
        sessions: Sessions,
        roles: ProjectRoles,
        storage: Storage,
        allowed: tuple[str, ...],
        quota_bytes: int,
    ) -> None:
        self._sessions = sessions
        self._roles = roles
        self._allowed = allowed
        self._quota_bytes = quota_bytes
        self.storage = storage

    async def require(self, principal: Principal, project_id: UUID, needed: ProjectRole) -> None:
        """Raises ProjectNotFound, RoleTooLow."""
        require(await self._roles.role(project_id, principal), needed)

    async def require_room(self, project_id: UUID, size: int) -> None:
        """Raises QuotaExceeded when the project cannot keep so many bytes more."""
        async with self._sessions() as session:
            await self._require_room(session, project_id, size)

    async def upload(
        self, principal: Principal, project_id: UUID, name: str, declared: str, upload: Upload
    ) -> FileOut:
        """Keep a file of a member; it is there as a whole, or not at all.

        Raises what `require`, Upload and `media_type` do, QuotaExceeded and StorageUnavailable.
        """
        kind = media_type(await upload.head(), declared, self._allowed)
        file_id = uuid7()
        key = key_of(project_id, file_id)
        await self.storage.put(key, upload.blocks())
        file = File(
            id=file_id,
            project_id=project_id,
            user_id=principal.user_id,
            name=name,
            media_type=kind,
            size=upload.size,
            sha256=upload.sha256,
        )
        try:
            async with self._sessions.begin() as session:
                # Two that end at once would both find the last room free.
                await one_at_a_time(session, project_id)
                await self._require_room(session, project_id, file.size)
                session.add(file)
        except QuotaExceeded:
            await self._drop(key)
            raise
        except IntegrityError as error:
            await self._drop(key)
            raise ProjectNotFound("The project was deleted during the upload.") from error
        return _out(file)

    async def page(
        self, principal: Principal, project_id: UUID, asked: PageQuery
    ) -> OffsetPagination[FileOut]:
        """The files of a project. Raises ProjectNotFound."""
        await self.require(principal, project_id, ProjectRole.VIEWER)
        return await page(
            self._sessions,
            select(File).where(File.project_id == project_id),
            asked,
            model=File,
            searched={"name"},
            out=lambda row: _out(row[0]),
        )

    async def get(self, principal: Principal, project_id: UUID, file_id: UUID) -> FileOut:
        """A file. Raises ProjectNotFound, FileNotFound."""
        await self.require(principal, project_id, ProjectRole.VIEWER)
        async with self._sessions() as session:
            return _out(_of_project(await session.get(File, file_id), project_id))

    async def delete(self, principal: Principal, project_id: UUID, file_id: UUID) -> None:
        """Delete a file. Raises ProjectNotFound, RoleTooLow, FileNotFound."""
        await self.require(principal, project_id, ProjectRole.MODERATOR)
        async with self._sessions.begin() as session:
            file = _of_project(await session.get(File, file_id, with_for_update=True), project_id)
            await session.delete(file)
        await self._drop(key_of(project_id, file_id))

    async def _require_room(self, session: AsyncSession, project_id: UUID, size: int) -> None:
        if not self._quota_bytes:
            return
        kept = select(func.coalesce(func.sum(File.size), 0)).where(File.project_id == project_id)
        used = int(await session.scalar(kept) or 0)
        if used + size > self._quota_bytes:
            raise QuotaExceeded(
                f"The project may keep {self._quota_bytes} bytes and keeps {used}."
                " Delete files that are no longer needed, or ask who runs the service for more."
            )

    async def _drop(self, key: str) -> None:
        """Delete content that has no row; what cannot be deleted now, a sweep will."""
        try:
            await self.storage.delete(key)
        except (StorageUnavailable, OSError) as error:
            log.warning("content left behind", key=key, cause=repr(error))


def _of_project(file: File | None, project_id: UUID) -> File:
    if file is None or file.project_id != project_id:
        raise FileNotFound("This project has no such file. List its files first.")
    return file


def _out(file: File) -> FileOut:
    return FileOut(
        file.id,
        file.project_id,
        file.user_id,
        file.name,
        file.media_type,
        file.size,
        file.sha256,
        file.created_at,
    )
