"""Processes that outlive the agent: how they are started, recorded, found again and signalled."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import msgspec
import psutil

from controlplane.adapters.host.files import write_atomically

# Every process we start carries these: where it belongs, and which start of ours it is.
HOME_MARK = "CAMP_HOME"
START_MARK = "CAMP_START"
STATE = "state.json"
LOG = "log"
OLD_LOG = "log.1"
MAX_LOG_BYTES = 4 << 20
TAIL_BYTES = 64 << 10
# Below Linux's ephemeral range, so that no outgoing connection takes one before the bind.
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS = 100

T = TypeVar("T")


class Birth(msgspec.Struct, frozen=True):
    """A process that was started: its pid, and the start time that tells it from a later one."""

    pid: int
    created: float


@dataclass(frozen=True, slots=True)
class Handle:
    """One live or dead process, ours by birth or adopted. Its pid is its process group's too."""

    process: psutil.Process
    child: subprocess.Popen[bytes] | None = None

    @property
    def birth(self) -> Birth:
        return Birth(self.process.pid, self.process.create_time())

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and for an adopted process, whose code went to its parent."""
        return None if self.child is None else self.child.poll()

    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None  # this also reaps it
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def environ(self) -> dict[str, str]:
        """What the kernel says that it was started with; nothing once it is gone."""
        try:
            return self.process.environ()
        except (psutil.Error, OSError):
            return {}

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole group; nothing if the process is gone."""
        if not self.alive():
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def new_mark() -> str:
    """A name for one start, to be recorded before it and carried by the process."""
    return secrets.token_hex(8)


def launch(argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Handle:
    """Start a process in its own session, with its output appended to `folder`/log."""
    with open_log(folder) as log:
        child = subprocess.Popen(
            argv,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Handle(psutil.Process(child.pid), child)


def adopt(mark: str, birth: Birth | None, marks: Mapping[str, Handle]) -> Handle | None:
    """The process of that start, if it still lives: by its mark, or by pid and start time.

    The mark also finds what was started and not recorded, and holds when the clock was set.
    """
    if mark in marks:
        return marks[mark]
    try:
        process = psutil.Process(birth.pid) if birth else None
        if process is None or birth is None or process.create_time() != birth.created:
            return None
    except psutil.NoSuchProcess:
        return None
    handle = Handle(process)
    return handle if handle.alive() else None


def marked(folder: Path) -> dict[str, Handle]:
    """The group leaders that belong to `folder`, by their start's mark; looks at each process."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.uids().real != os.getuid() or os.getpgid(process.pid) != process.pid:
                continue
            environ = process.environ()
        except (psutil.Error, OSError):
            continue  # it ended, or is not ours to look at
        if environ.get(HOME_MARK) == str(folder) and START_MARK in environ:
            found[environ[START_MARK]] = Handle(process)
    return found


def save(folder: Path, state: msgspec.Struct) -> None:
    """Durable when it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / STATE, msgspec.json.encode(state))


def saved(folder: Path, kind: type[T]) -> Iterator[tuple[Path, T]]:
    """The states below `folder`, each with the folder that it lies in."""
    for file in sorted(folder.glob(f"*/{STATE}")):
        yield file.parent, msgspec.json.decode(file.read_bytes(), type=kind)


def written_at(folder: Path) -> float:
    """When the state in this folder was written last."""
    return (folder / STATE).stat().st_mtime


def free_port(address: str, taken: frozenset[int]) -> int:
    """A port that was free a moment ago. Raises OSError when none is found."""
    reason = "all are taken"
    for port in random.sample(PORTS, PORT_ATTEMPTS):
        if port in taken:
            continue
        with socket.socket() as probe:
            # As servers do: a port in TIME_WAIT is free to listen on.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                reason = error.strerror or str(error)
                continue
            return port
    where = f"{address}, ports {PORTS.start} to {PORTS.stop - 1}"
    raise OSError(f"cannot listen on {where}: {reason}; check the agent's --address")


def open_log(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / LOG).open("ab")


def bound_log(folder: Path) -> None:
    """Move a grown log aside; its writer appends, so it goes on at the new beginning."""
    log = folder / LOG
    if not log.exists() or log.stat().st_size <= MAX_LOG_BYTES:
        return
    (folder / OLD_LOG).write_bytes(log.read_bytes())
    os.truncate(log, 0)


def tail(folder: Path, lines: int) -> tuple[str, ...]:
    """The last lines of `folder`/log, as far as 64 KiB reach."""
    log = folder / LOG
    if lines <= 0 or not log.exists():
        return ()
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return tuple(text.splitlines()[-lines:])


def last_words(folder: Path) -> str:
    """The last line that is not empty, or nothing."""
    return next((line.strip() for line in reversed(tail(folder, 20)) if line.strip()), "")
