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
    Operation,
    RequestBody,
    Schema,
)
from litestar.pagination import OffsetPagination
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream

from camp.auth.identity import Principal
from camp.files import service
from camp.files.ranges import disposition, span
from camp.files.schemas import FileOut
from camp.files.storage import key_of
from camp.files.upload import Upload, require_size
from camp.http import etags
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
    str,
    # Neither a path, nor what could end a header or a line of a log.
    QueryParameter(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+$"),
]
FileOrder = Annotated[service.OrderBy, QueryParameter(name="orderBy")]
Range = Annotated[str | None, HeaderParameter(name="Range")]
IfRange = Annotated[str | None, HeaderParameter(name="If-Range")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match")]


CONTENT = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)


@dataclass
class UploadOperation(Operation):
    """An operation whose body is a file."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            content={"application/octet-stream": OpenAPIMediaType(schema=CONTENT)},
            description="The file itself, with its own Content-Type. Not multipart: a raw body is"
            " passed on to the storage as it arrives, without a copy in memory or on disk.",
            required=True,
        )


@dataclass
class Download(Operation):
    """An operation that answers with a file, of whatever type that is."""

    def __post_init__(self) -> None:
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
    @post("/", operation_class=UploadOperation, request_max_body_size=None)
    async def upload(
        self, request: FileRequest, state: State, project_id: FromPath[UUID], name: FileName
    ) -> Response[FileOut]:
        """Upload a file; for a MEMBER. It can be seen once it is whole.

        415 for a type that is not allowed, or not what Content-Type says; 413 above the limit.
        """
        files: service.FileService = state.files
        await files.require(request.user, project_id, ProjectRole.MEMBER)
        max_bytes: int = state.settings.file_max_bytes
        require_size(_announced(request), max_bytes)
        upload = Upload(request.receive, max_bytes)
        declared = request.headers.get("content-type", "")
        file = await files.upload(request.user, project_id, name, declared, upload)
        where = {"Location": f"{request.scope['path'].rstrip('/')}/{file.id}"}
        return Response(file, status_code=201, headers=where)

    @get("/")
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

    @get("/{file_id:uuid}")
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

    @get("/{file_id:uuid}/content", operation_class=Download)
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
        """The content, or with `Range: bytes=…` a part of it (206); for a VIEWER."""
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
        content = await files.storage.read(key_of(project_id, file_id), start, end)
        status = 200 if part is None else 206
        return Stream(content, status_code=status, media_type=file.media_type, headers=headers)

    @delete("/{file_id:uuid}")
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
