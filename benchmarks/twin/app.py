"""The same three routes on FastAPI, as its documentation builds such a service.

Same database, tables, pool, token, limiter (camp's own), metrics (prometheus-client), headers,
request ids and JSON log lines as camp; pydantic models, dependencies and an ORM session a
request, as its documentation has them. One process: `python -m benchmarks.twin.app PORT`.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import structlog
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import Histogram
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from camp.chats.models import Chat
from camp.config.settings import load
from camp.database.engine import build_engine, build_sessions
from camp.http.rate_limit import RateLimiter
from camp.observability import logs
from camp.observability.metrics import BUCKETS_S
from camp.users.models import User

SETTINGS = load(os.environ, Path("/nonexistent"))
ENGINE = build_engine(SETTINGS)
SESSIONS = build_sessions(ENGINE)
LIMITER = RateLimiter(SETTINGS)
DURATIONS = Histogram(
    "twin_request_duration_seconds", "By route.", ["method", "route", "status"], buckets=BUCKETS_S
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
log = structlog.get_logger("twin.access")
bearer = HTTPBearer(auto_error=False)
USER_CACHE_S = 30.0
_known: dict[str, tuple[UUID, float]] = {}


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    display_name: str
    role: str
    created_at: datetime
    updated_at: datetime


class ChatOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    title: str
    created_at: datetime


class ChatPage(BaseModel):
    items: list[ChatOut]
    next: UUID | None


class NewChat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] = "New chat"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await ENGINE.dispose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=1024)


@app.middleware("http")
async def observed(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    given = request.headers.get("x-request-id", "")
    request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else secrets.token_hex(8)
    structlog.contextvars.bind_contextvars(request_id=request_id)
    started = time.perf_counter()
    response = await call_next(request)
    duration_s = time.perf_counter() - started
    response.headers.update(HEADERS)
    response.headers["X-Request-ID"] = request_id
    for name, value in getattr(request.state, "budget", {}).items():
        response.headers[name] = value
    route = getattr(request.scope.get("route"), "path", "unmatched")
    DURATIONS.labels(request.method, route, str(response.status_code)).observe(duration_s)
    log.info(
        "request",
        method=request.method,
        route=route,
        status=response.status_code,
        duration_ms=round(duration_s * 1000, 2),
        user=getattr(request.state, "user", None),
    )
    return response


async def session() -> AsyncIterator[AsyncSession]:
    async with SESSIONS() as made:
        yield made


Session = Annotated[AsyncSession, Depends(session)]


async def current_user(
    request: Request,
    database: Session,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> UUID:
    token = given.credentials if given else ""
    if not hmac.compare_digest(token.encode(), SETTINGS.dev_mock_token.encode()):
        raise HTTPException(401, "The bearer token is not valid.")
    known, until = _known.get(token, (None, 0.0))
    if known is None or time.monotonic() >= until:
        known = await database.scalar(select(User.id).where(User.subject == "dev-user"))
        if known is None:
            raise HTTPException(401, "There is no such user.")
        _known[token] = (known, time.monotonic() + USER_CACHE_S)
    request.state.user = known
    return known


CurrentUser = Annotated[UUID, Depends(current_user)]


async def within_budget(request: Request, user: CurrentUser) -> None:
    spent = await LIMITER.spend(f"user:{user}")
    if spent is None:
        return
    request.state.budget = {n.decode(): v.decode() for n, v in spent.headers()}
    if spent.over:
        raise HTTPException(429, "Too many requests.")


Limited = Depends(within_budget)


@app.get("/api/v1/users/me", dependencies=[Limited])
async def me(user: CurrentUser, database: Session) -> UserOut:
    return UserOut.model_validate(await database.get(User, user))


@app.get("/api/v1/chats", dependencies=[Limited])
async def page(
    user: CurrentUser,
    database: Session,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ChatPage:
    query = select(Chat).where(Chat.user_id == user).order_by(Chat.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Chat.id < before)
    chats = (await database.scalars(query)).all()
    items = [ChatOut.model_validate(chat) for chat in chats[:limit]]
    return ChatPage(items=items, next=items[-1].id if len(chats) > limit else None)


@app.post("/api/v1/chats", status_code=201, dependencies=[Limited])
async def create(user: CurrentUser, database: Session, data: NewChat) -> ChatOut:
    chat = Chat(user_id=user, title=data.title)
    database.add(chat)
    await database.commit()
    return ChatOut.model_validate(chat)


def main() -> Any:
    logs.configure(SETTINGS.log_level, "twin/1")
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
    )


if __name__ == "__main__":
    main()
