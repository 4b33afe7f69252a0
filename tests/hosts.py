"""Hosts for tests, real and fake alike: a runtime, releases to run on it, and time that passes."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from controlplane.adapters.process.runtime import ProcessRuntime
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport
from controlplane.ports.runtime import Running, Runtime
from tests.fakes.runtime import Behaviour, FakeMachine, FakeRuntime
from tests.fakes.world import World
from tests.standin import stand_in
from tests.waiting import eventually


class Ground(Protocol):
    """A host with a runtime, releases to run on it, and time that passes."""

    runtime: Runtime

    def release(self, version: str = "1.0.0", **behaviour: Any) -> Release: ...
    def agent_restarts(self) -> None: ...
    def agent_restarts_with(self, setting: str) -> None: ...
    def crash(self, slot: int) -> None: ...
    async def until(self, holds: Callable[[], Awaitable[object]]) -> bool: ...


class FakeGround:
    def __init__(self) -> None:
        self.world = World()
        self.machine = FakeMachine(self.world, "host-a", environ={"SETTING": "first"})
        self.runtime: Runtime = FakeRuntime(self.machine)

    def release(self, version: str = "1.0.0", **behaviour: Any) -> Release:
        digest = f"sha256:{version}"
        self.machine.behaviours[digest] = Behaviour(
            crash_after_s=0.1 if "crash" in behaviour else None,
            stop_s=1e9 if "ignores_sigterm" in behaviour else 0.2,
            pull_failures=99 if "damaged" in behaviour else 0,
            pull_permanent=True,
            job_s=behaviour.get("job_s", 0.5),
            job_failures=99 if "job_code" in behaviour else 0,
        )
        return Release(version, digest, "", "abc", "0002", "0001", "cfg")

    def agent_restarts(self) -> None:
        self.runtime = FakeRuntime(self.machine)

    def agent_restarts_with(self, setting: str) -> None:
        self.machine.environ["SETTING"] = setting
        self.agent_restarts()

    def crash(self, slot: int) -> None:
        self.machine.crash(slot)

    async def until(self, holds: Callable[[], Awaitable[object]]) -> bool:
        for _ in range(200):
            if await holds():
                return True
            self.world.now += 0.05
        return False


class RealGround:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environ = {"SETTING": "first", "OWN": "of this host"}
        self.opened = self._open()
        self.runtime: Runtime = self.opened

    def release(self, version: str = "1.0.0", **behaviour: Any) -> Release:
        made = stand_in(self.folder / "bundles", version, **behaviour)
        if "damaged" in behaviour:
            with Path(made.image).open("ab") as file:
                file.write(b"more")
        return made

    def agent_restarts(self) -> None:
        self.opened.close()
        self.runtime = self.opened = self._open()

    def agent_restarts_with(self, setting: str) -> None:
        self.environ["SETTING"] = setting
        self.agent_restarts()

    def _open(self) -> ProcessRuntime:
        shared = {"SETTING": "nothing", "OTHER": None}
        return ProcessRuntime(self.home, "host-a", environ=self.environ, shared=shared).open()

    def crash(self, slot: int) -> None:
        (process,) = processes(self.home, CAMP_INSTANCE=f"host-a/{slot}")
        process.kill()

    async def until(self, holds: Callable[[], Awaitable[object]]) -> bool:
        return await eventually(holds)


def processes(home: Path, **environ: str) -> list[psutil.Process]:
    """The processes of a runtime's folder that have these variables."""
    wanted = {"CAMP_HOME": str(home), **environ}.items()
    found = []
    for process in psutil.process_iter():
        try:
            if wanted <= process.environ().items():
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def real_ground(folder: Path) -> Iterator[RealGround]:
    ground = RealGround(folder)
    try:
        yield ground
    finally:
        ground.opened.close()
        for process in processes(ground.home):
            process.send_signal(signal.SIGKILL)


async def image(ground: Ground, release: Release) -> ImageReport | None:
    found = {i.digest: i for i in await ground.runtime.images()}
    return found.get(release.digest)


async def pulled(ground: Ground, release: Release) -> Release:
    await ground.runtime.pull(release)
    assert await ground.until(lambda: image(ground, release))
    return release


async def only(ground: Ground) -> Running:
    (running,) = await ground.runtime.running()
    return running
