"""End every process and container of one demo, whichever way the demo itself ended.

Instances outlive their agents by design, so the demo has to end them itself. Each process of it
carries its folder in the environment, its own mark or the agents'. `Sweeper` is a process of its
own that holds the other end of a pipe: when the demo closes it, or dies, SIGKILL included,
everything that carries the mark is killed, until a look finds nothing; then the containers and
images of the demo's environment are removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

# Ours, and the one that agents give what they start.
MARKS = ("CAMP_DEMO", "CAMP_HOME")
DEADLINE_S = 10.0
ENGINE_DEADLINE_S = 60.0
PAUSE_S = 0.05


class Sweeper:
    """The process that cleans up behind `folder`; `finish` lets it do so now.

    With `containers`, the name of an environment, it removes those as well.
    """

    def __init__(self, folder: Path, containers: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "controlplane.demo.sweeper", str(folder), containers],
            stdin=subprocess.PIPE,
            # Ctrl-C in the terminal is the demo's to answer.
            start_new_session=True,
        )

    def finish(self) -> None:
        """Return when no process and no container of the demo is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(2 * DEADLINE_S + ENGINE_DEADLINE_S)


def mark(folder: Path) -> dict[str, str]:
    """What the environment of a demo's process must contain."""
    return {MARKS[0]: str(folder)}


def marked(folder: Path) -> Iterator[psutil.Process]:
    """The living processes that carry the folder's mark."""
    for process in psutil.process_iter():
        try:
            environ = process.environ()
        except (psutil.Error, OSError):
            continue
        places = [Path(environ[name]) for name in MARKS if environ.get(name)]
        ours = any(place == folder or folder in place.parents for place in places)
        if ours and process.pid != os.getpid():
            yield process


def sweep(folder: Path) -> int:
    """Kill what is marked until nothing is; the number of processes killed."""
    end = time.monotonic() + DEADLINE_S
    killed: set[int] = set()
    while (found := list(marked(folder))) and time.monotonic() < end:
        for process in found:
            killed.add(process.pid)
            # psutil compares the start time first: never another process of the same number.
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(PAUSE_S)
    return len(killed)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 1):
        pass
    folder, containers = Path(sys.argv[1]), sys.argv[2]
    sweep(folder)
    if containers:
        from controlplane.demo.leftovers import remove

        remove(containers)


if __name__ == "__main__":
    main()
