"""The service with its control API over real HTTP, in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from structlog.testing import capture_logs

from camp.asgi import create_app
from camp.config.settings import load
from camp.lifecycle import Lifecycle
from tests.waiting import eventually


@dataclass(frozen=True)
class Served:
    """One running instance."""

    url: str
    lifecycle: Lifecycle
    server: uvicorn.Server


@asynccontextmanager
async def serving(
    database_url: str,
    redis_url: str | None = None,
    port: int = 0,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Served]:
    """Serve on a loopback port until the block ends; `variables` are settings."""
    # Its logs would land in the output of a command that runs beside it.
    with capture_logs():
        environ = {"DATABASE_URL": database_url, "REDIS_URL": redis_url or ""}
        environ |= {"ENVIRONMENT": "local"}
        async with _serving(environ | dict(variables or {}), port) as served:
            yield served


@asynccontextmanager
async def _serving(environ: dict[str, str], port: int) -> AsyncIterator[Served]:
    environ = environ | {"RUN_WORKERS": "0"}
    app = create_app(load(environ, Path("no-such-folder")))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # ours stay
        running = asyncio.create_task(server.serve([listener]))
        assert await eventually(lambda: server.started or running.done())
        try:
            port = listener.getsockname()[1]
            yield Served(f"http://127.0.0.1:{port}", app.state.lifecycle, server)
        finally:
            app.state.lifecycle.draining.set()
            server.should_exit = True
            await running
