"""Runs one instance: its own order of stopping, around uvicorn."""

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
import time
from collections.abc import Iterator

import structlog
import uvicorn
from litestar import Litestar

import camp
from camp.asgi import create_app
from camp.config.settings import Settings
from camp.lifecycle import Lifecycle
from camp.observability import logs

log = structlog.get_logger("camp.server")

KEEP_ALIVE_S = 75
# Once withdrawn, a request may still be on its way from an edge: be quiet this long first.
QUIET_S = 0.25
# After the deadline, for the last events to leave; what stays after that is cut.
LAST_WORDS_S = 1.0
POLL_S = 0.05


class CampServer(uvicorn.Server):
    """uvicorn, but SIGTERM drains first and listens on until nothing is left to finish.

    uvicorn alone would stop listening at once, and then wait for streams without a limit.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain_deadline_s: float):
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_deadline_s = drain_deadline_s
        self._stopping: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        if self._stopping is not None:
            self.force_exit = self.should_exit = True
            return
        log.info("draining", deadline_s=self._drain_deadline_s)
        self._lifecycle.drain(self._drain_deadline_s)
        self._stopping = asyncio.get_running_loop().create_task(self._exit_when_quiet())

    async def _exit_when_quiet(self) -> None:
        lifecycle = self._lifecycle
        while time.monotonic() < lifecycle.deadline + LAST_WORDS_S:
            if lifecycle.quiet_s >= QUIET_S:
                break
            await asyncio.sleep(POLL_S)
        log.info("stopping", streams=lifecycle.chat_streams, requests=lifecycle.requests)
        self.should_exit = True


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code: 0 after a drain, 1 otherwise."""
    logs.configure(settings.log_level, settings.camp_instance)
    try:
        listener = _listener(settings.host, settings.port)
    except OSError as error:
        print(_cannot_listen(settings, error), file=sys.stderr)
        return 1
    app = create_app(settings)
    # What exists now stays: never look at it again. The command turned collection off to start.
    gc.freeze()
    gc.enable()
    server = CampServer(_config(app), app.state.lifecycle, settings.drain_deadline_s)
    host, port = listener.getsockname()[:2]
    log.info("listening", host=host, port=port, version=camp.__version__)
    server.run(sockets=[listener])
    return 1 if server.force_exit else 0


def _config(app: Litestar) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        access_log=False,
        log_config=None,
        server_header=False,
        # Peers must stay the real ones: POST /internal/drain trusts loopback.
        proxy_headers=False,
    )


def _listener(host: str, port: int) -> socket.socket:
    """A bound socket, taken before anything slow, so that a port in use is told at once."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _cannot_listen(settings: Settings, error: OSError) -> str:
    where = f"{settings.host} port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"Error: {where} is in use. Stop what listens there, or set PORT or --port."
    if error.errno == errno.EACCES:
        return f"Error: {where} needs privileges. Choose a port above 1023 with PORT or --port."
    return f"Error: cannot listen on {where} ({error.strerror}). Correct HOST and PORT."
