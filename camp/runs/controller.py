"""Routes of runs."""

from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import State as AppState
from litestar.pagination import OffsetPagination
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from camp.auth.identity import Principal
from camp.config.settings import Settings
from camp.errors import (
    Forbidden,
    IdempotencyKeyReused,
    RunActive,
    RunInputInvalid,
    RunNotFound,
    TooManyRuns,
    TooManyStreams,
)
from camp.http.paging import LimitParameter, OffsetParameter, PageQuery, SortParameter
from camp.http.sse import EventStream
from camp.runs import events, service
from camp.runs.models import State
from camp.runs.schemas import NewRun, RunOut

RunRequest = Request[Principal, Any, Any]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Makes one run however often it is sent: visible ASCII.",
    ),
]
Order = Annotated[service.OrderBy, QueryParameter(name="orderBy")]
OfState = Annotated[State | None, QueryParameter(name="state")]


class RunController(Controller):
    """Background work of the signed-in user."""

    path = "/runs"
    tags = ("runs",)

    @post(
        "/",
        status_code=202,
        refuses=(Forbidden, RunInputInvalid, IdempotencyKeyReused, TooManyRuns),
    )
    async def start(
        self,
        request: RunRequest,
        state: AppState,
        data: JSONBody[NewRun],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[RunOut]:
        """Start a run; 422 when the key was used for another one."""
        runs: service.RunService = state.runs
        if request.user.is_checks and data.kind != "echo":
            raise Forbidden("The account of checks runs the kind echo only: others ask the model.")
        run = await runs.start(request.user.user_id, data, idempotency_key)
        return Response(run, status_code=202, headers={"Location": f"/api/v1/runs/{run.id}"})

    @get("/")
    async def page(
        self,
        request: RunRequest,
        state: AppState,
        *,
        limit: LimitParameter = 20,
        offset: OffsetParameter = 0,
        order_by: Order = "created_at",
        sort_order: SortParameter = "desc",
        of_state: OfState = None,
    ) -> OffsetPagination[RunOut]:
        """Your runs, of one state if you name it."""
        runs: service.RunService = state.runs
        asked = PageQuery(limit, offset, order_by, sort_order)
        return await runs.page(request.user.user_id, of_state, asked)

    @get("/{run_id:uuid}", refuses=(RunNotFound,))
    async def detail(self, request: RunRequest, state: AppState, run_id: FromPath[UUID]) -> RunOut:
        """A run with its progress, and its result or error."""
        runs: service.RunService = state.runs
        return await runs.get(request.user.user_id, run_id)

    @post("/{run_id:uuid}/cancel", status_code=200, refuses=(RunNotFound,))
    async def cancel(self, request: RunRequest, state: AppState, run_id: FromPath[UUID]) -> RunOut:
        """End a run; one that has ended already stays as it is."""
        runs: service.RunService = state.runs
        return await runs.cancel(request.user.user_id, run_id)

    @delete("/{run_id:uuid}", refuses=(RunNotFound, RunActive))
    async def delete(self, request: RunRequest, state: AppState, run_id: FromPath[UUID]) -> None:
        """Forget a run that has ended; 409 while it has not."""
        runs: service.RunService = state.runs
        await runs.delete(request.user.user_id, run_id)

    @get("/{run_id:uuid}/events", refuses=(RunNotFound, TooManyStreams))
    async def events(
        self, request: RunRequest, state: AppState, run_id: FromPath[UUID]
    ) -> EventStream:
        """The run's progress: `progress` for each change, then `done`. `draining` asks to come
        again, which begins with the run as it is then. Comments are heartbeats."""
        runs: service.RunService = state.runs
        settings: Settings = state.settings
        user_id = request.user.user_id
        with ExitStack() as held:
            held.enter_context(state.streams.place(user_id))
            run = await runs.get(user_id, run_id)
            told = events.stream(run, user_id, runs, state.lifecycle, settings.chat_heartbeat_s)
            return EventStream(told, settings.stream_stall_s, held.pop_all())
