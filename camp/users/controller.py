"""Routes of users."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, get, patch
from litestar.datastructures import State
from litestar.pagination import OffsetPagination
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from camp.auth.identity import Principal, UserRole
from camp.errors import LastSystemAdmin, NotFound, PreconditionFailed, SystemAdminOnly, UserNotFound
from camp.http import etags
from camp.http.paging import (
    LimitParameter,
    OffsetParameter,
    PageQuery,
    SearchParameter,
    SortParameter,
)
from camp.users import service
from camp.users.schemas import RolePatch, UserOut, UserPatch

UserRequest = Request[Principal, Any, Any]
UserOrder = Annotated[service.OrderBy, QueryParameter(name="orderBy")]


class UserController(Controller):
    """The signed-in user, and all users for a SYSTEM_ADMIN."""

    path = "/users"
    tags = ("users",)

    @get("/me", refuses=(NotFound,))
    async def me(self, request: UserRequest, state: State) -> Response[UserOut]:
        """The signed-in user, with the ETag that an update wants."""
        users: service.UserService = state.users
        return _tagged(await users.me(request.user))

    @patch("/me", refuses=(NotFound, PreconditionFailed))
    async def rename(
        self,
        request: UserRequest,
        state: State,
        data: JSONBody[UserPatch],
        if_match: etags.IfMatch = None,
    ) -> Response[UserOut]:
        """Change the display name."""
        users: service.UserService = state.users
        return _tagged(await users.rename(request.user, data.display_name, if_match))

    @get("/", refuses=(SystemAdminOnly,))
    async def page(
        self,
        request: UserRequest,
        state: State,
        *,
        limit: LimitParameter = 20,
        offset: OffsetParameter = 0,
        order_by: UserOrder = "created_at",
        sort_order: SortParameter = "desc",
        search: SearchParameter = None,
        role: FromQuery[UserRole | None] = None,
    ) -> OffsetPagination[UserOut]:
        """All users, for a SYSTEM_ADMIN; `search` looks at display name and email."""
        users: service.UserService = state.users
        asked = PageQuery(limit, offset, order_by, sort_order, search)
        return await users.page(request.user, asked, role)

    @get("/{user_id:uuid}", refuses=(SystemAdminOnly, UserNotFound))
    async def detail(
        self, request: UserRequest, state: State, user_id: FromPath[UUID]
    ) -> Response[UserOut]:
        """A user, for a SYSTEM_ADMIN."""
        users: service.UserService = state.users
        return _tagged(await users.get(request.user, user_id))

    @patch(
        "/{user_id:uuid}",
        refuses=(SystemAdminOnly, UserNotFound, LastSystemAdmin, PreconditionFailed),
    )
    async def change_role(
        self,
        request: UserRequest,
        state: State,
        user_id: FromPath[UUID],
        data: JSONBody[RolePatch],
        *,
        if_match: etags.IfMatch = None,
    ) -> Response[UserOut]:
        """Give a user another role, as a SYSTEM_ADMIN. The last SYSTEM_ADMIN stays one.

        It holds at once at this instance, and within 30 s at the others. A SYSTEM_ADMIN whom the
        user's token names comes back within 30 s: change it where the token gets it from.
        """
        users: service.UserService = state.users
        return _tagged(await users.change_role(request.user, user_id, data.role, if_match))


def _tagged(user: UserOut) -> Response[UserOut]:
    return Response(user, headers={etags.HEADER: service.tag(user)})
