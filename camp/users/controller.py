"""Routes of users."""

from typing import Any

from litestar import Controller, Request, get, patch
from litestar.datastructures import State
from litestar.params import JSONBody

from camp.auth import Principal
from camp.users.schemas import UserOut, UserPatch
from camp.users.service import UserService

UserRequest = Request[Principal, Any, Any]


class UserController(Controller):
    """The signed-in user."""

    path = "/users"
    tags = ("users",)

    @get("/me")
    async def me(self, request: UserRequest, state: State) -> UserOut:
        """The signed-in user."""
        users: UserService = state.users
        return await users.get(request.user.user_id)

    @patch("/me")
    async def rename(
        self, request: UserRequest, state: State, data: JSONBody[UserPatch]
    ) -> UserOut:
        """Change the display name."""
        users: UserService = state.users
        return await users.rename(request.user.user_id, data.display_name)
