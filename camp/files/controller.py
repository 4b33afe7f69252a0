"""Routes of files."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    RequestBody,
    Schema,
)
from litestar.pagination import OffsetPagination
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream

from camp.auth.identity import Principal
from camp.errors import (
    ContentMissing,
    FileNotFound,
    ProjectNotFound,
    RoleTooLow,
    StorageUnavailable,
    TooManyUploads,
    UploadsBusy,
)
from camp.files import form, service
from camp.files.errors import (
    FileEmpty,
    FileNameInvalid,
    FileTooLarge,
    FormInvalid,
    QuotaExceeded,
    RangeRefused,
    TypeRefused,
    UploadStalled,
)
from camp.files.ranges import disposition, span
from camp.files.schemas import FileOut
from camp.files.storage import key_of
from camp.files.upload import NAME, NAME_MAX, Upload, require_name, require_size
from camp.http import etags
from camp.http.docs.responses import Described
from camp.http.head import HEAD_ONLY
from camp.http.paging import (
    LimitParameter,
    OffsetParameter,
    PageQuery,
    SearchParameter,
    SortParameter,
)
from camp.membership import ProjectRole

FileRequest = Request[Principal, Any, Any]
FileName = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=NAME_MAX,
        pattern=NAME,
        description="What the file is called. Only a form may leave it out.",
    ),
]
FileOrder = Annotated[service.OrderBy, QueryParameter(name="orderBy")]
Range = Annotated[str | None, HeaderParameter(name="Range")]
IfRange = Annotated[str | None, HeaderParameter(name="If-Range")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match")]


CONTENT = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
FORM = Schema(type=OpenAPIType.OBJECT, properties={form.PART: CONTENT}, required=[form.PART])


@dataclass
class UploadOperation(Described):
    """An operation whose body is a file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = RequestBody(
            content={
                "application/octet-stream": OpenAPIMediaType(schema=CONTENT),
                form.MEDIA_TYPE: OpenAPIMediaType(schema=FORM),
            },
            description="The file itself, with its own Content-Type, or a form with the part"
            " `file`. Either is passed on to the storage as it arrives, without a copy in memory"
            " or on disk.",
            required=True,
        )


@dataclass
class Download(Described):
    """An operation that answers with a file, of whatever type that is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        any_type = {"*/*": OpenAPIMediaType(schema=CONTENT)}
        told = {"200": "The file.", "206": "The part asked for.", "304": "It has not changed."}
        answers = {
            status: OpenAPIResponse(description=text, content=None if status == "304" else any_type)
            for status, text in told.items()
        }
        self.responses = {**(self.responses or {}), **answers}


class FileController(Controller):
    """Files of a project."""

    path = "/projects/{project_id:uuid}/files"
    tags = ("files",)

    # The limit of other routes does not hold here: the body is read in parts, up to FILE_MAX_BYTES.
    @post(
        "/",
        operation_class=UploadOperation,
        request_max_body_size=None,
        refuses=(
            ProjectNotFound,
            RoleTooLow,
            FileEmpty,
            FileNameInvalid,
            FormInvalid,
            FileTooLarge,
            QuotaExceeded,
            TypeRefused,
            UploadStalled,
            TooManyUploads,
            UploadsBusy,
            StorageUnavailable,
        ),
    )
    async def upload(
        self, request: FileRequest, state: State, project_id: FromPath[UUID], name: FileName = None
    ) -> Response[FileOut]:
        """Upload a file; for a MEMBER. It can be seen once it is whole.

        415 for a type that is not allowed, or not what Content-Type says; 413 above the limit, or
        when the project is full. The name of a file in a form is the form's unless you give one.
        """
        files: service.FileService = state.files
        await files.require(request.user, project_id, ProjectRole.MEMBER)
        declared = request.headers.get("content-type", "")
        around = form.form_of(declared)
        if around is None:
            require_name(name)
        max_bytes: int = state.settings.file_max_bytes
        announced = _announced(request) - (form.ASIDE_MAX_BYTES if around else 0)
        require_size(announced, max_bytes)
        await files.require_room(project_id, max(1, announced))
        with state.uploads_of_user.place(request.user.user_id), state.uploads.place():
            upload = Upload(request.receive, max_bytes, around)
            await upload.head()
            if around is not None:
                name, declared = name or around.name, around.declared
            file = await files.upload(
                request.user, project_id, require_name(name), declared, upload
            )
        where = {"Location": f"{request.scope['path'].rstrip('/')}/{file.id}"}
        return Response(file, status_code=201, headers=where)

    @get("/", refuses=(ProjectNotFound,))
    async def page(
        self,
        request: FileRequest,
        state: State,
        project_id: FromPath[UUID],
        *,
        limit: LimitParameter = 20,
        offset: OffsetParameter = 0,
        order_by: FileOrder = "created_at",
        sort_order: SortParameter = "desc",
        search: SearchParameter = None,
    ) -> OffsetPagination[FileOut]:
        """The files of a project; `search` looks at the name. For a VIEWER."""
        files: service.FileService = state.files
        asked = PageQuery(limit, offset, order_by, sort_order, search)
        return await files.page(request.user, project_id, asked)

    @get("/{file_id:uuid}", refuses=(ProjectNotFound, FileNotFound))
    async def detail(
        self,
        request: FileRequest,
        state: State,
        project_id: FromPath[UUID],
        file_id: FromPath[UUID],
    ) -> FileOut:
        """A file without its content; for a VIEWER."""
        files: service.FileService = state.files
        return await files.get(request.user, project_id, file_id)

    @get(
        "/{file_id:uuid}/content",
        operation_class=Download,
        refuses=(ProjectNotFound, FileNotFound, ContentMissing, RangeRefused, StorageUnavailable),
    )
    async def download(
        self,
        request: FileRequest,
        state: State,
        project_id: FromPath[UUID],
        file_id: FromPath[UUID],
        *,
        wanted: Range = None,
        if_range: IfRange = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response[Any]:
        """The content, or the part of it that Range names (206); for a VIEWER."""
        files: service.FileService = state.files
        file = await files.get(request.user, project_id, file_id)
        tag = f'"{file.sha256}"'
        headers = {etags.HEADER: tag, "Accept-Ranges": "bytes", "Cache-Control": "private"}
        if etags.matches(if_none_match, tag):
            return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
        part = span(wanted, if_range, tag, file.size)
        start, end = part or (0, file.size)
        headers |= {
            "Content-Disposition": disposition(file.name),
            "Content-Length": str(end - start),
        }
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        # Who wants the head only is still told of content that is missing.
        until = min(end, start + 1) if request.scope["state"].get(HEAD_ONLY) else end
        content = await files.storage.read(key_of(project_id, file_id), start, until)
        status = 200 if part is None else 206
        return Stream(content, status_code=status, media_type=file.media_type, headers=headers)

    @delete("/{file_id:uuid}", refuses=(ProjectNotFound, RoleTooLow, FileNotFound))
    async def delete(
        self,
        request: FileRequest,
        state: State,
        project_id: FromPath[UUID],
        file_id: FromPath[UUID],
    ) -> None:
        """Delete a file; for a MODERATOR."""
        files: service.FileService = state.files
        await files.delete(request.user, project_id, file_id)


def _announced(request: FileRequest) -> int:
    """The Content-Length in bytes; 0 when there is none, or none that can be read."""
    raw = request.headers.get("content-length", "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 else 0
