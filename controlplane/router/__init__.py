"""The control API, `/control/v1`: stateless, in every instance; it records what operators want."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router
from litestar.di import Provide

from controlplane.domain.errors import ControlError
from controlplane.router.control import Control
from controlplane.router.deploying import (
    EnvironmentController,
    ReleaseController,
    RolloutController,
)
from controlplane.router.guards import operator_guard
from controlplane.router.operating import OperatorController
from controlplane.router.problems import respond
from controlplane.router.remedies import HostController, TruthController
from controlplane.router.tail import Tails
from controlplane.router.watching import (
    EventController,
    FleetController,
    LogController,
    StatusController,
    WhyController,
)

__all__ = ["Control", "control_router"]


def control_router(control: Control) -> Router:
    """The router over the given ports; every route asks for an operator's token."""
    tails = Tails(control.ledger, control.listener)
    return Router(
        "/control/v1",
        route_handlers=[
            EnvironmentController,
            ReleaseController,
            RolloutController,
            FleetController,
            LogController,
            StatusController,
            EventController,
            WhyController,
            TruthController,
            HostController,
            OperatorController,
        ],
        dependencies={
            "control": Provide(lambda: control, sync_to_thread=False),
            "tails": Provide(lambda: tails, sync_to_thread=False),
            "actor": Provide(_actor, sync_to_thread=False),
        },
        guards=[operator_guard(control)],
        exception_handlers={ControlError: respond},
        security=[{"bearer": []}],
        tags=["control"],
    )


def _actor(request: Request[str, Any, Any]) -> str:
    return request.user
