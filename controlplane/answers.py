"""What the answers of the control API mean: the wire's structs, or the errors they once were."""

from __future__ import annotations

from typing import TypeVar

import httpx
import msgspec

from controlplane.domain import errors
from controlplane.domain.errors import (
    Conflict,
    ControlError,
    Invalid,
    NotAllowed,
    NotFound,
    TooManyFailures,
    Unavailable,
)
from controlplane.wire import Problem

T = TypeVar("T")
BY_CODE = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ControlError)
}
BY_STATUS: dict[int, type[ControlError]] = {
    400: Invalid,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: TooManyFailures,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def decode(response: httpx.Response, kind: type[T], url: str) -> T:
    """The struct in a good answer. Raises Unavailable when it is another one."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.DecodeError as error:
        raise Unavailable(
            f"What answers at {url} is no control plane of this version ({error}); "
            "check --url, or use the camp that belongs to it."
        ) from error


def refusal(response: httpx.Response) -> ControlError:
    """The error that the router raised, from the problem that came of it."""
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(status=response.status_code)
    kind = BY_CODE.get(problem.code) or BY_STATUS.get(response.status_code, ControlError)
    return kind(
        problem.detail
        or f"{response.request.url.host} answered {response.status_code} without a reason; "
        "try again, or see the instance's log."
    )
