"""How the description of the API tells of problems: the one shape, with an example of each."""

from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from camp.http.problems import MEDIA_TYPE, FieldFault, Problem

_EXAMPLES = {
    400: (
        "validation_failed",
        "Validation failed",
        "title: Expected `str` of length <= 200",
        (FieldFault("title", "Expected `str` of length <= 200"),),
    ),
    401: ("unauthorized", "Unauthorized", "The bearer token is not valid.", ()),
    404: ("chat_not_found", "Not found", "You have no such chat.", ()),
    429: ("rate_limited", "Too many requests", "Try again in 12 s.", ()),
    503: ("database_busy", "Service unavailable", "Every database connection is in use.", ()),
}


class ProblemResponses(ReceiveRoutePlugin):
    """Adds to each route under a path what any of them may answer besides its own answer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._responses = {status: _spec(status) for status in _EXAMPLES}

    def receive_route(self, route: BaseRoute) -> None:
        """Called by Litestar for every route."""
        if isinstance(route, HTTPRoute) and route.path.startswith(self._path):
            for handler in route.route_handlers:
                handler.responses = {**self._responses, **(handler.responses or {})}


def _spec(status: int) -> ResponseSpec:
    code, title, detail, errors = _EXAMPLES[status]
    example = Problem(
        type=f"urn:camp:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        instance="/api/v1/chats",
        code=code,
        request_id="5f1c0a9be2d34c77",
        retryable=status in {429, 503},
        errors=errors,
    )
    return ResponseSpec(
        Problem,
        generate_examples=False,
        description=title,
        media_type=MEDIA_TYPE,
        examples=[Example(summary=title, value=example)],
    )
