"""Routes of projects."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.pagination import OffsetPagination
from litestar.params import FromPath, JSONBody, QueryParameter

from camp.auth.identity import Principal
from camp.errors import (
    AlreadyMember,
    LastManager,
    MemberNotFound,
    PreconditionFailed,
    ProjectNotFound,
    RoleTooLow,
    UserUnknown,
)
from camp.http import etags
from camp.http.paging import (
    LimitParameter,
    OffsetParameter,
    PageQuery,
    SearchParameter,
    SortParameter,
)
from camp.projects import members, service
from camp.projects.schemas import (
    MemberOut,
    MemberPatch,
    NewMember,
    NewProject,
    ProjectOut,
    ProjectPatch,
)

ProjectRequest = Request[Principal, Any, Any]
ProjectOrder = Annotated[service.OrderBy, QueryParameter(name="orderBy")]
MemberOrder = Annotated[members.OrderBy, QueryParameter(name="orderBy")]


class ProjectController(Controller):
    """Projects of the signed-in user; a SYSTEM_ADMIN manages all there are."""

    path = "/projects"
    tags = ("projects",)

    @post("/")
    async def create(
        self, request: ProjectRequest, state: State, data: JSONBody[NewProject]
    ) -> Response[ProjectOut]:
        """Make a project; you become its PROJECT_MANAGER."""
        projects: service.ProjectService = state.projects
        return _tagged(await projects.create(request.user, data), status_code=201)

    @get("/")
    async def page(
        self,
        request: ProjectRequest,
        state: State,
        *,
        limit: LimitParameter = 20,
        offset: OffsetParameter = 0,
        order_by: ProjectOrder = "created_at",
        sort_order: SortParameter = "desc",
        search: SearchParameter = None,
    ) -> OffsetPagination[ProjectOut]:
        """The projects that you are a member of; all of them, for a SYSTEM_ADMIN.

        `search` looks at name and description.
        """
        projects: service.ProjectService = state.projects
        asked = PageQuery(limit, offset, order_by, sort_order, search)
        return await projects.page(request.user, asked)

    @get("/{project_id:uuid}", refuses=(ProjectNotFound,))
    async def detail(
        self, request: ProjectRequest, state: State, project_id: FromPath[UUID]
    ) -> Response[ProjectOut]:
        """A project, with the ETag that an update wants."""
        projects: service.ProjectService = state.projects
        return _tagged(await projects.get(request.user, project_id))

    @patch("/{project_id:uuid}", refuses=(ProjectNotFound, RoleTooLow, PreconditionFailed))
    async def update(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        data: JSONBody[ProjectPatch],
        *,
        if_match: etags.IfMatch = None,
    ) -> Response[ProjectOut]:
        """Change name or description; for its PROJECT_MANAGER."""
        projects: service.ProjectService = state.projects
        return _tagged(await projects.update(request.user, project_id, data, if_match))

    @delete("/{project_id:uuid}", refuses=(ProjectNotFound, RoleTooLow, PreconditionFailed))
    async def delete(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        if_match: etags.IfMatch = None,
    ) -> None:
        """Delete a project with its members and files; for its PROJECT_MANAGER."""
        projects: service.ProjectService = state.projects
        await projects.delete(request.user, project_id, if_match)


class MemberController(Controller):
    """Members of a project."""

    path = "/projects/{project_id:uuid}/members"
    tags = ("projects",)

    @get("/", refuses=(ProjectNotFound,))
    async def page(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        *,
        limit: LimitParameter = 20,
        offset: OffsetParameter = 0,
        order_by: MemberOrder = "created_at",
        sort_order: SortParameter = "asc",
    ) -> OffsetPagination[MemberOut]:
        """The members of a project, for each of them."""
        found: members.MemberService = state.members
        asked = PageQuery(limit, offset, order_by, sort_order)
        return await found.page(request.user, project_id, asked)

    @post("/", refuses=(ProjectNotFound, RoleTooLow, UserUnknown, AlreadyMember))
    async def add(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        data: JSONBody[NewMember],
    ) -> Response[MemberOut]:
        """Take a user into the project; for its PROJECT_MANAGER."""
        found: members.MemberService = state.members
        return _member(await found.add(request.user, project_id, data), status_code=201)

    @get("/{user_id:uuid}", refuses=(ProjectNotFound, MemberNotFound))
    async def detail(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        user_id: FromPath[UUID],
    ) -> Response[MemberOut]:
        """A member, with the ETag that a change wants."""
        found: members.MemberService = state.members
        return _member(await found.get(request.user, project_id, user_id))

    @patch(
        "/{user_id:uuid}",
        refuses=(ProjectNotFound, RoleTooLow, MemberNotFound, PreconditionFailed, LastManager),
    )
    async def change(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        user_id: FromPath[UUID],
        *,
        data: JSONBody[MemberPatch],
        if_match: etags.IfMatch = None,
    ) -> Response[MemberOut]:
        """Give a member another role; for its PROJECT_MANAGER. The last manager stays one."""
        found: members.MemberService = state.members
        changed = await found.change(request.user, project_id, user_id, data.role, if_match)
        return _member(changed)

    @delete("/{user_id:uuid}", refuses=(ProjectNotFound, RoleTooLow, MemberNotFound, LastManager))
    async def remove(
        self,
        request: ProjectRequest,
        state: State,
        project_id: FromPath[UUID],
        user_id: FromPath[UUID],
    ) -> None:
        """Take a member out (PROJECT_MANAGER), or leave. The last manager cannot."""
        found: members.MemberService = state.members
        await found.remove(request.user, project_id, user_id)


def _member(member: MemberOut, status_code: int = 200) -> Response[MemberOut]:
    headers = {etags.HEADER: members.tag(member)}
    return Response(member, status_code=status_code, headers=headers)


def _tagged(project: ProjectOut, status_code: int = 200) -> Response[ProjectOut]:
    headers = {etags.HEADER: service.tag(project)}
    return Response(project, status_code=status_code, headers=headers)
