"""The processes of a demo: servers, agents, one-shot commands, all below one folder."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from controlplane.demo.sweeper import mark, sweep
from controlplane.domain.errors import ControlError
from controlplane.embedded.kept import LOOPBACK, Bridge, environment, tail
from controlplane.embedded.servers import (
    PostgresServer,
    RedisServer,
    TraefikServer,
    start_postgres,
    start_redis,
    start_traefik,
)

ServerT = TypeVar("ServerT", PostgresServer, RedisServer, TraefikServer)
HOSTS = ("host-a", "host-b", "host-c")
LOCK = "demo.lock"
STOP_DEADLINE_S = 8.0
# Six instances move three at a time: a chat of ten seconds that holds up each old instance's end
# would make six turns out of it with the default max_surge = 1.
POLICY = """\
instances_per_host = 2
max_surge = 3
max_unavailable = 0
on_failure = "rollback"
min_healthy_s = 1.0
bake_s = 2.0
start_deadline_s = 20.0
drain_deadline_s = 30.0
stop_grace_s = 10.0
"""


class DemoFailed(ControlError):
    """A part of the demo did not do what it must; the sentence says where to look."""

    code = "demo_failed"


@dataclass(frozen=True)
class Servers:
    """The embedded servers of one demo."""

    postgres: PostgresServer
    redis: RedisServer
    traefik: TraefikServer

    def stop(self) -> None:
        for server in (self.traefik, self.redis, self.postgres):
            server.stop()


def sources() -> Path:
    """The checkout that releases are built from. Raises DemoFailed when this is none."""
    found = Path(__file__).resolve().parents[2]
    if not (found / "pyproject.toml").exists():
        raise DemoFailed(
            "The demo builds its releases from camp's source tree; run it in a checkout."
        )
    return found


def take(folder: Path) -> IO[str]:
    """An empty folder with its lock. Raises DemoFailed when it is in use or not a demo's."""
    if folder.exists() and any(folder.iterdir()) and not (folder / LOCK).exists():
        raise DemoFailed(
            f"{folder} is not a demo's folder; a demo empties its folder, so name another one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / LOCK).open("a", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise DemoFailed(
            f"Another demo runs in {folder}; end it, or name another folder with --folder."
        ) from error
    sweep(folder)
    for entry in folder.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return lock


async def start_servers(
    folder: Path, say: Callable[[str], None], bridge: Bridge | None = None
) -> Servers:
    """PostgreSQL, Redis and Traefik, each told of when it answers."""

    async def started(name: str, start: Callable[[], ServerT]) -> ServerT:
        server = await asyncio.to_thread(start)
        say(f"{name} answers on port {server.port}")
        return server

    async with asyncio.TaskGroup() as group:
        postgres = group.create_task(
            started("PostgreSQL", lambda: start_postgres(folder / "postgres", bridge=bridge))
        )
        redis = await started("Redis", lambda: start_redis(folder / "redis", bridge=bridge))
        traefik = await started("Traefik", lambda: start_traefik(folder / "traefik", redis))
    return Servers(postgres.result(), redis, traefik)


def environ(folder: Path, servers: Servers) -> dict[str, str]:
    """What every process of the demo is told."""
    ours = {
        "PYTHONUNBUFFERED": "1",
        # One folder: the demo's hosts are one machine.
        "STORAGE_URL": f"file://{folder.absolute() / 'files'}",
    }
    return environment() | mark(folder) | settings(servers) | ours


def settings(servers: Servers, host: str = LOOPBACK) -> dict[str, str]:
    """What an instance is told that reaches the servers at `host`."""
    return {
        "ENVIRONMENT": "local",
        "DATABASE_URL": servers.postgres.url("camp", host=host),
        "REDIS_URL": servers.redis.url(host=host),
        "LOG_LEVEL": "info",
        # Two cores carry six instances, everything around them and whatever else runs here. A
        # request that waits for a connection is rather late than refused; the load gives up
        # after ten seconds.
        "DB_POOL_TIMEOUT_S": "9",
        # One user holds all the streams of the load: as many as `--streams` takes.
        "STREAMS_PER_USER": "500",
    }


def environment_file(folder: Path, servers: Servers, name: str, policy: str = POLICY) -> Path:
    """The TOML file for `camp env apply`."""
    path = folder / "environment.toml"
    hosts = ", ".join(f'"{host}"' for host in HOSTS)
    path.write_text(
        f"[environments.{name}]\n"
        f"hosts = [{hosts}]\n"
        f'edges = ["{servers.traefik.api_url}"]\n\n'
        f"[environments.{name}.policy]\n{policy}",
        encoding="utf-8",
    )
    return path


class Program:
    """One long-running `camp …` process with its log."""

    def __init__(
        self, arguments: tuple[str, ...], environ: Mapping[str, str], folder: Path, name: str
    ) -> None:
        self._arguments, self._environ, self._folder = arguments, dict(environ), folder
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await _spawn(
                self._arguments, self._environ, self._folder, stdout=log, stderr=log
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal and wait; by force after a deadline."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def code(self) -> int | None:
        """How the process ended; None while it runs or has not begun."""
        return self._process.returncode if self._process else None

    def require(self) -> None:
        """Raises DemoFailed when the process has ended by itself."""
        code = self.code
        if code is not None:
            raise DemoFailed(f"{self.name} ended with code {code}:\n{tail(self.log)}")


async def run_camp(arguments: tuple[str, ...], environ: Mapping[str, str], folder: Path) -> str:
    """Run a command of `camp` to its end; what it printed. Raises DemoFailed."""
    process = await _spawn(
        arguments,
        environ,
        folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise DemoFailed(f"camp {' '.join(arguments)} failed: {err.decode().strip()}")
    return out.decode().strip()


async def _spawn(
    arguments: tuple[str, ...],
    environ: Mapping[str, str],
    folder: Path,
    *,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "camp",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=dict(environ),
        # No .env file of a checkout has a say; Ctrl-C in the terminal is the demo's to answer.
        cwd=folder,
        start_new_session=True,
    )
