"""The demo's instances as processes of this machine: no root, no Docker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from camp.config.sign_in import DEFAULT_MOCK_TOKEN
from controlplane.adapters.process import bundle
from controlplane.demo.bundles import build_demo
from controlplane.demo.measure.sampler import Process
from controlplane.demo.stage import STOP_DEADLINE_S, Servers
from controlplane.demo.sweeper import marked
from controlplane.domain.model import Release
from controlplane.embedded.kept import Bridge

# A process may still carry its parent's environment this long after its fork.
YOUNG_S = 2.0


class Processes:
    """Instances that agents start below `folder` from bundles built from the tree at `sources`."""

    environment = "local"
    # Everything listens on loopback, where the public token is good enough.
    user_token = DEFAULT_MOCK_TOKEN
    bridge: Bridge | None = None
    containers = ""

    def __init__(self, folder: Path, sources: Path) -> None:
        self._folder, self._sources = folder, sources
        self._known: dict[int, Process] = {}
        self._foreign: set[int] = set()

    async def prepare(self) -> None:
        """Nothing is needed that was not installed with us."""

    async def releases(self, say: Callable[[str], None]) -> Sequence[Release]:
        made = await asyncio.to_thread(build_demo, self._sources, self._folder)
        say(f"Bundles are built: {', '.join(made)}")
        return [bundle.read(path) for path in made.values()]

    def agent(self, servers: Servers) -> tuple[tuple[str, ...], dict[str, str]]:
        """Agents know the servers from their own environment, and run processes unasked."""
        del servers
        return (), {}

    async def living(self) -> Sequence[Process]:
        return list(self._living())

    async def end(self) -> None:
        await asyncio.to_thread(_end, self._folder)

    async def close(self) -> None:
        """Nothing is held."""

    def _living(self) -> Iterator[Process]:
        alive = set(psutil.pids())
        self._foreign &= alive
        for pid in sorted(alive - self._foreign):
            process = self._known.get(pid)
            try:
                found = psutil.Process(pid)
                if process is None or process.started_at != found.create_time():
                    process = self._identify(found)
                if process is not None and found.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except (psutil.Error, OSError):
                continue

    def _identify(self, found: psutil.Process) -> Process | None:
        """The instance behind a process, if it is one of ours."""
        started_at = found.create_time()
        try:
            environ = found.environ()
        except (psutil.Error, OSError):
            environ = {}
        home = environ.get("CAMP_HOME", "")
        slot = "CAMP_START" in environ and "CAMP_JOB" not in environ
        if not slot or self._folder not in Path(home).parents:
            if time.time() - started_at > YOUNG_S:
                self._foreign.add(found.pid)
            return None
        address = f"{environ['HOST']}:{environ['PORT']}"
        began_at = started_at + clock_correction_s()
        process = Process(found.pid, environ["CAMP_INSTANCE"], address, started_at, began_at)
        self._known[found.pid] = process
        return process


def _end(folder: Path) -> None:
    processes = list(marked(folder))
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=STOP_DEADLINE_S)


def clock_correction_s() -> float:
    """Linux tells the boot time in whole seconds, so start times come up to a second early."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - psutil.boot_time()
