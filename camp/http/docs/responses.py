"""How the description of the API tells what each route is for and can say no with.

A route names the errors of its own: `@get("/", refuses=(ChatNotFound,))`. What any of them may
answer, and what follows from its parameters, is added here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import cleandoc
from itertools import groupby

from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example, Operation
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from camp.errors import (
    BodyTooLarge,
    CampError,
    DatabaseBusy,
    DatabaseUnavailable,
    RateLimitUnavailable,
    SignInUnavailable,
    TokenExpired,
    TokenInvalid,
    TooManyRequests,
    Unauthorized,
    ValidationFailed,
)
from camp.http.problems import MEDIA_TYPE, Problem, problem_type

OPTION = "refuses"
SIGNED_IN = (
    Unauthorized,
    TokenInvalid,
    TokenExpired,
    TooManyRequests,
    DatabaseBusy,
    DatabaseUnavailable,
    RateLimitUnavailable,
    SignInUnavailable,
)
"""What every route for signed-in users may answer."""


class RouteAnswers(ReceiveRoutePlugin):
    """Describes every route by its docstring, and, but those under `elsewhere`, by its refusals."""

    def __init__(self, signed_in: str, elsewhere: str) -> None:
        self._signed_in = signed_in
        self._elsewhere = elsewhere

    def receive_route(self, route: BaseRoute) -> None:
        """Called by Litestar for every route."""
        if not isinstance(route, HTTPRoute):
            return
        common = SIGNED_IN if route.path.startswith(self._signed_in) else ()
        for handler in route.route_handlers:
            handler.summary = handler.summary or _summary(handler)
            if route.path.startswith(self._elsewhere):
                continue
            errors = [*handler.opt.get(OPTION, ()), *common, *_by_parameters(handler, route)]
            handler.responses = {**refusals(errors), **(handler.responses or {})}
            if handler.operation_class is Operation:
                handler.operation_class = Described


@dataclass
class Described(Operation):
    """An operation without the 400 that Litestar adds to all of them, in a shape of its own."""

    def __post_init__(self) -> None:
        self.responses = {
            status: answer
            for status, answer in (self.responses or {}).items()
            if status != "400" or MEDIA_TYPE in (getattr(answer, "content", None) or {})
        }


def refusals(errors: Iterable[type[CampError]]) -> dict[int, ResponseSpec]:
    """A response for each status, with an example for each error."""
    unlike = sorted(dict.fromkeys(errors), key=lambda error: error.status)
    return {
        status: _spec(list(of_status))
        for status, of_status in groupby(unlike, key=lambda error: error.status)
    }


def _spec(errors: list[type[CampError]]) -> ResponseSpec:
    return ResponseSpec(
        Problem,
        generate_examples=False,
        description=" ".join(_about(error) for error in errors),
        media_type=MEDIA_TYPE,
        examples=[Example(summary=error.code, value=_example(error)) for error in errors],
    )


def _example(error: type[CampError]) -> Problem:
    return Problem(
        type=problem_type(error.code),
        title=error.title,
        status=error.status,
        detail=_about(error),
        instance="/api/v1/…",
        code=error.code,
        request_id="5f1c0a9be2d34c77",
        retryable=error.retryable,
    )


def _about(error: type[CampError]) -> str:
    return _paragraph(error.__doc__)


def _summary(handler: HTTPRouteHandler) -> str | None:
    return re.split(r"[.;:](?: |$)", _paragraph(handler.fn.__doc__))[0] or None


def _paragraph(docstring: str | None) -> str:
    return cleandoc(docstring or "").partition("\n\n")[0].replace("\n", " ")


def _by_parameters(handler: HTTPRouteHandler, route: HTTPRoute) -> list[type[CampError]]:
    """What Litestar answers before the handler is asked."""
    given = set(handler.parsed_fn_signature.parameters) - set(route.path_parameters)
    given -= {"self", "request", "state"}
    if "data" in given:
        return [ValidationFailed, BodyTooLarge]
    return [ValidationFailed] if given else []
