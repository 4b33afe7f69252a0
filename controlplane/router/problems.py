"""Control-plane errors as RFC 9457 `application/problem+json`, the service's own shape."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response

from controlplane.domain.errors import (
    BundleError,
    Conflict,
    ControlError,
    Fenced,
    Invalid,
    NotAllowed,
    NotFound,
    Skewed,
    Stale,
    TooManyFailures,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
STATUSES: tuple[tuple[type[ControlError], int, str], ...] = (
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (Stale, 409, "Conflict"),
    (Fenced, 409, "Conflict"),
    (Invalid, 422, "Invalid request"),
    (BundleError, 422, "Invalid release"),
    (NotAllowed, 401, "Unauthorized"),
    (TooManyFailures, 429, "Too many requests"),
    (Unavailable, 503, "Unavailable"),
    # An instance of the leader's release can read it.
    (Skewed, 503, "Unavailable"),
)


def respond(request: Request[Any, Any, Any], error: ControlError) -> Response[dict[str, Any]]:
    """The exception handler of the control API."""
    status, title = next(
        ((status, title) for kind, status, title in STATUSES if isinstance(error, kind)),
        (500, "Internal error"),
    )
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503}:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    problem = {
        "type": f"urn:camp:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": error.sentence,
        "instance": request.scope["path"],
        "code": error.code,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
        "retryable": error.retry,
    }
    return Response(problem, status_code=status, media_type=MEDIA_TYPE, headers=headers)
