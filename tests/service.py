"""Builders for the service: settings, an app in this process, and `camp serve` as a process."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import structlog
from asgi_lifespan import LifespanManager
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from camp.asgi import create_app
from camp.config.settings import Settings, load
from camp.ops.schema import SchemaHistory
from tests.described import require_described
from tests.waiting import wait_until

START_DEADLINE_S = 45.0
STOP_DEADLINE_S = 20.0
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"
# The least that production starts with.
PRODUCTION = {
    "ENVIRONMENT": "production",
    "AUTH_MODE": "production",
    "ENTRA_TENANT_ID": "11111111-2222-3333-4444-555555555555",
    "ENTRA_AUDIENCE": "api://camp",
}
# A busy machine is no Redis that hangs.
PATIENT = {"REDIS_TIMEOUT_S": "2"}
USER = {"authorization": "Bearer test-token"}


def settings(database_url: str = NO_DATABASE, **variables: str) -> Settings:
    """Settings of a test; `variables` are environment variables."""
    given = {"DATABASE_URL": database_url, "DEV_MOCK_TOKEN": "test-token"}
    given |= PATIENT | {"RUN_WORKERS": "0"}  # they would take connections that a test counts
    return load(given | variables, Path("no-such-folder"))


@asynccontextmanager
async def client_of(
    made: Settings,
    *,
    history: SchemaHistory | None = None,
    extra: tuple[HTTPRouteHandler, ...] = (),
    peer: str = "127.0.0.1",
    headers: Mapping[str, str] = USER,
) -> AsyncIterator[httpx.AsyncClient]:
    """A signed-in client of an app in this process; `extra` routes join it."""
    # Nobody reads the log of this process, and drawing tracebacks takes seconds.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    app: Litestar = create_app(made, history)
    for handler in extra:
        app.register(handler)
    asgi = cast("Any", app)  # typed alike, spelt differently

    async def described(response: httpx.Response) -> None:
        require_described(settings(), response)

    async with LifespanManager(asgi):
        transport = httpx.ASGITransport(app=asgi, raise_app_exceptions=False, client=(peer, 1))
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://camp",
            headers=headers,
            event_hooks={"response": [described]},
        ) as client:
            client.app = app  # type: ignore[attr-defined]  # for tests that look inside
            yield client


async def own_id(client: httpx.AsyncClient) -> UUID:
    """The id of the signed-in user."""
    return UUID((await client.get("/api/v1/users/me")).json()["id"])


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer that is an error."""
    return response.status_code, response.json()["code"]


@dataclass(frozen=True, slots=True)
class Instance:
    """A running `camp serve`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def lines(self) -> list[dict[str, object]]:
        """Its log, parsed."""
        return [json.loads(line) for line in _complete_lines(self.log)]

    def exit_code(self) -> int:
        """Its exit code, once it has ended; fails when it does not end in time."""
        return self.process.wait(STOP_DEADLINE_S)


@contextmanager
def running(folder: Path, database_url: str, **variables: str) -> Iterator[Instance]:
    """A `camp serve` on a free port that answers already; gone at the end."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    environ = _environ(database_url) | {"PORT": "0"} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "camp", "serve"], env=environ, cwd=folder, stdout=out
        )
    try:
        yield Instance(process, _url(process, log), log)
    finally:
        process.kill()
        process.wait(STOP_DEADLINE_S)


def _environ(database_url: str) -> dict[str, str]:
    root = str(Path(__file__).parent.parent)
    ours = {"DATABASE_URL": database_url, "DEV_MOCK_TOKEN": "test-token", "PYTHONPATH": root}
    ours |= PATIENT | {"RUN_WORKERS": "0"}
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME"} or "COVERAGE" in k}
    return kept | ours


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the instance listens on, once it answers."""
    wait_until(lambda: process.poll() is not None or _answers(log), START_DEADLINE_S)
    url = _listening(log)
    assert url is not None, f"camp did not start: {log.read_text()}"
    return url


def _listening(log: Path) -> str | None:
    for line in _complete_lines(log):
        if '"event":"listening"' in line:
            return f"http://127.0.0.1:{json.loads(line)['port']}"
    return None


def _answers(log: Path) -> bool:
    url = _listening(log)
    try:
        return url is not None and httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


def _complete_lines(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
