"""HEAD wherever there is a GET (RFC 9110, section 9.3.2): the same answer without its body."""

import asyncio
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

HEAD_ONLY = "head_only"
"""Set in the request's state, for handlers that can spare themselves the body."""


class HeadLayer:
    """Asks the app with GET, passes on the head of its answer, and then leaves as a client would.

    So no route can have one without the other, and a stream ends with its head.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method") if scope["type"] == ScopeType.HTTP else "GET"
        if method == "GET":
            await self._app(scope, receive, send)
        elif method == "HEAD":
            await _head(self._app, cast("HTTPScope", scope), send)
        else:
            await self._app(scope, receive, _allowing_head(send))


async def _head(app: ASGIApp, scope: HTTPScope, send: Send) -> None:
    asked, told = False, asyncio.Event()

    async def left() -> Any:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await told.wait()
        return {"type": "http.disconnect"}

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            # The server and the log look at it again: a body that is missing is no fault then.
            scope["method"] = "HEAD"
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            told.set()

    scope.setdefault("state", {})[HEAD_ONLY] = True
    scope["method"] = "GET"
    await app(scope, left, send_head)


def _allowing_head(send: Send) -> Send:
    async def send_allowed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [_allowed(*header) for header in message["headers"]]
        await send(message)

    return send_allowed


def _allowed(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """An Allow header with the HEAD that this layer adds."""
    adds = name.lower() == b"allow" and b"GET" in value and b"HEAD" not in value
    return name, value + b", HEAD" if adds else value
