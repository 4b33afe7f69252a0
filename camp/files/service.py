"""What can be done with files."""

from typing import Literal
from uuid import UUID

import structlog
from litestar.pagination import OffsetPagination
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from camp.auth.identity import Principal
from camp.database.engine import Sessions, uuid7
from camp.errors import FileNotFound, ProjectNotFound, StorageUnavailable
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
        self, sessions: Sessions, roles: ProjectRoles, storage: Storage, allowed: tuple[str, ...]
    ) -> None:
        self._sessions = sessions
        self._roles = roles
        self._allowed = allowed
        self.storage = storage

    async def require(self, principal: Principal, project_id: UUID, needed: ProjectRole) -> None:
        """Raises ProjectNotFound, RoleTooLow."""
        require(await self._roles.role(project_id, principal), needed)

    async def upload(
        self, principal: Principal, project_id: UUID, name: str, declared: str, upload: Upload
    ) -> FileOut:
        """Keep a file of a member; it is there as a whole, or not at all.

        Raises what `require`, Upload and `media_type` do, and StorageUnavailable.
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
                session.add(file)
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
