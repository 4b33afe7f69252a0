"""Every 4xx and 5xx as RFC 9457 `application/problem+json`."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from camp.errors import (
    BodyTooLarge,
    CampError,
    DatabaseBusy,
    DatabaseUnavailable,
    TooManyRequests,
    ValidationFailed,
)

log = structlog.get_logger("camp.http.problems")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
OUR_FAULT = "Something went wrong on our side. Tell us the request_id."


class FieldFault(msgspec.Struct, frozen=True):
    """One field of the request and what is wrong with it."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one error shape; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool = False
    errors: tuple[FieldFault, ...] = ()


AnyRequest = Request[Any, Any, Any]


def problem_type(code: str) -> str:
    """The URI that names a kind of problem."""
    return f"urn:camp:problem:{code}"


def respond(request: AnyRequest, exc: Exception) -> Response[Problem]:
    """The exception handler for everything: domain errors, Litestar's, drivers', and bugs."""
    if isinstance(exc, HTTPException):
        return _from_http(request, exc)
    error = exc if isinstance(exc, CampError) else _translated(exc)
    if error is None:
        log.error("unhandled error", exc_info=exc, path=request.scope["path"])
        return _response(request, 500, "internal_error", "Internal error", OUR_FAULT)
    if error.status >= 500:
        log.warning("request failed", code=error.code, cause=repr(exc))
    wait_s = error.retry_after_s if isinstance(error, TooManyRequests) else None
    return _response(
        request,
        error.status,
        error.code,
        error.title,
        str(error),
        retryable=error.retryable,
        headers=dict(error.headers) | ({} if wait_s is None else {"Retry-After": str(wait_s)}),
    )


def _translated(exc: Exception) -> CampError | None:
    """A driver's error as a domain error; None for what can only be a bug."""
    if isinstance(exc, PoolTimeout):
        return DatabaseBusy("Every database connection is in use. Try again in a moment.")
    # Without a statement it failed to connect, whatever the driver calls it.
    lost = isinstance(exc, DBAPIError) and (exc.connection_invalidated or exc.statement is None)
    if lost or isinstance(exc, OperationalError | InterfaceError | OSError | TimeoutError):
        return DatabaseUnavailable("The database does not answer. Try again in a moment.")
    return None


def _from_http(request: AnyRequest, exc: HTTPException) -> Response[Problem]:
    status = exc.status_code
    title = HTTPStatus(status).phrase
    code = title.lower().replace(" ", "_").replace("-", "_")
    detail = exc.detail
    headers = {str(k): str(v) for k, v in (exc.headers or {}).items()}
    faults: tuple[FieldFault, ...] = ()
    if isinstance(exc, ValidationException):
        code, title = ValidationFailed.code, ValidationFailed.title
        faults = _faults(request, exc.extra)
        detail = "; ".join(f"{f.field}: {f.message}" for f in faults) or detail
    elif isinstance(exc, NotFoundException):
        code, detail = "route_not_found", "Nothing is here. The routes are listed at /docs."
    elif isinstance(exc, MethodNotAllowedException):
        detail = f"{request.method} is not allowed here; see the Allow header."
    elif status == BodyTooLarge.status:
        # Their own phrase for it differs from one Python to the next.
        code, title = BodyTooLarge.code, BodyTooLarge.title
        limit = request.route_handler.resolve_request_max_body_size()
        detail = f"A request may have {limit} bytes at the most. Send less at once."
    elif status >= 500:
        log.error("unhandled error", exc_info=exc, path=request.scope["path"])
        code, title, detail = "internal_error", "Internal error", OUR_FAULT
    return _response(request, status, code, title, detail, faults=faults, headers=headers)


def _faults(request: AnyRequest, extra: Any) -> tuple[FieldFault, ...]:
    items = extra if isinstance(extra, list) else []
    return tuple(
        FieldFault(
            field=_sent_as(request, str(i.get("key", "body"))),
            message=str(i.get("message", "is invalid")),
        )
        for i in items
        if isinstance(i, dict)
    )


def _sent_as(request: AnyRequest, name: str) -> str:
    """What the client calls it: `orderBy` for the argument order_by of a handler."""
    parameter = request.route_handler.parsed_fn_signature.parameters.get(name)
    definition = None if parameter is None else parameter.kwarg_definition
    return getattr(definition, "name", None) or name


def _response(
    request: AnyRequest,
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    retryable: bool = False,
    faults: tuple[FieldFault, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    headers = dict(headers or {})
    if status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if status == 503:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    problem = Problem(
        type=problem_type(code),
        title=title,
        status=status,
        detail=detail,
        instance=request.scope["path"],
        code=code,
        request_id=request.scope["state"]["request_id"],
        retryable=retryable,
        errors=faults,
    )
    return Response(problem, status_code=status, media_type=MEDIA_TYPE, headers=headers)
