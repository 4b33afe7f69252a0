"""The outermost layer of the app: request ids, counts, timings and one access log line each."""

import re
import secrets
import time

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from camp.lifecycle import Lifecycle
from camp.metrics import Metrics

log = structlog.get_logger("camp.access")

# Whoever decides on a drain asks these; counting them would keep the instance busy for ever.
PROBES = frozenset({"/health", "/health/live", "/health/ready", "/metrics", "/internal/drain"})
UNMATCHED = "unmatched"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class AccessLayer:
    """Wraps the whole app, so that unknown routes are counted and carry a request id too."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
        elif scope["path"] in PROBES:
            await self._observed(scope, receive, send)
        else:
            with self._lifecycle.request():
                await self._observed(scope, receive, send)

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        header = (b"x-request-id", request_id.encode())
        status = 500
        started = time.perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header, *self._farewell()]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            self._finish(scope, status, time.perf_counter() - started)

    def _farewell(self) -> list[tuple[bytes, bytes]]:
        """While draining, clients with kept-alive connections are told to find another instance."""
        return [(b"connection", b"close")] if self._lifecycle.draining.is_set() else []

    def _finish(self, scope: Scope, status: int, duration_s: float) -> None:
        route = scope.get("path_template") or UNMATCHED
        method = str(scope.get("method", ""))
        self._metrics.observe(method, route, status, duration_s)
        write = log.debug if scope["path"] in PROBES else log.info
        write(
            "request",
            method=method,
            route=route,
            status=status,
            duration_ms=round(duration_s * 1000, 2),
        )


def _request_id(scope: Scope) -> str:
    """The caller's X-Request-ID when it is harmless in a log line, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return secrets.token_hex(8)
