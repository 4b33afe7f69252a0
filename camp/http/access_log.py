"""The outermost layer of the app: ids, headers, counts, timings and one log line a request."""

import re
import secrets
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from camp.http import compression
from camp.http.headers import SecurityHeaders
from camp.lifecycle import Lifecycle
from camp.observability.metrics import Metrics

log = structlog.get_logger("camp.http.access_log")

# Whoever decides on a drain asks these; counting them would keep the instance busy for ever.
PROBES = frozenset({"/health", "/health/live", "/health/ready", "/metrics", "/internal/drain"})
UNMATCHED = "unmatched"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class AccessLayer:
    """Wraps the whole app, so that unknown routes are counted and carry a request id too."""

    def __init__(
        self, app: ASGIApp, lifecycle: Lifecycle, metrics: Metrics, headers: SecurityHeaders
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
        elif scope["path"] in PROBES:
            await self._observed(scope, receive, send)
        else:
            with self._lifecycle.request():
                await self._observed(scope, receive, send)

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, gzip = _asked(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        headers = [(b"x-request-id", request_id.encode()), *self._headers.of(scope["path"])]
        reply = _Reply(send, self._lifecycle, state, headers, gzip)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, reply.send)
        finally:
            self._finish(scope, reply, time.perf_counter() - started)

    def _finish(self, scope: Scope, reply: "_Reply", duration_s: float) -> None:
        route = scope.get("path_template") or UNMATCHED
        method = str(scope.get("method", ""))
        self._metrics.observe(method, route, reply.status, duration_s)
        write = log.debug if quiet(scope["path"], route) else log.info
        write(
            "request",
            method=method,
            route=route,
            status=reply.status,
            duration_ms=round(duration_s * 1000, 2),
            bytes=reply.size,
            user=getattr(scope.get("user"), "user_id", None),
        )


def quiet(path: str, route: str) -> bool:
    """Whether a request is noise in a log that people read.

    Reading a log must not write into it: who follows one would soon read of nothing else.
    """
    return path in PROBES or route.endswith("/logs")


class _Reply:
    """One response on its way out: adds headers, packs what gains, counts the bytes."""

    __slots__ = ("_gzip", "_headers", "_held", "_lifecycle", "_send", "_state", "size", "status")

    def __init__(
        self,
        send: Send,
        lifecycle: Lifecycle,
        state: dict[str, Any],
        headers: list[tuple[bytes, bytes]],
        gzip: bool,
    ) -> None:
        self._send = send
        self._lifecycle = lifecycle
        self._state = state
        self._headers = headers
        self._gzip = gzip
        self._held: Message | None = None
        self.status = 500
        self.size = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"] = [*message["headers"], *self._headers, *self._late()]
            if self._gzip and compression.worth_packing(headers):
                # Only the body tells whether it comes in one piece.
                self._held = message
                return
        elif message["type"] == "http.response.body":
            if self._held is not None:
                start, self._held = self._held, None
                if not message["more_body"]:
                    message["body"] = compression.pack(start, message["body"])
                await self._send(start)
            self.size += len(message["body"])
        await self._send(message)

    def _late(self) -> list[tuple[bytes, bytes]]:
        """What is known only once there is an answer."""
        late: list[tuple[bytes, bytes]] = list(self._state.get("headers", ()))
        if self._lifecycle.draining.is_set():
            # Clients with kept-alive connections are to find another instance.
            late.append((b"connection", b"close"))
        return late


def _asked(scope: Scope) -> tuple[str, bool]:
    """The caller's X-Request-ID if it is harmless in a log line, else a new one; takes gzip?"""
    request_id, gzip = None, False
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode("ascii")
        elif name == b"accept-encoding":
            gzip = b"gzip" in value and scope.get("method") != "HEAD"
    return request_id or secrets.token_hex(8), gzip
