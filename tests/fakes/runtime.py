"""A host on virtual time. Nothing is scheduled: what is true follows from when things began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.domain.errors import RuntimeUnavailable
from controlplane.domain.goals import Job, JobState
from controlplane.domain.model import Release, Spec
from controlplane.domain.reports import ImageReport, JobReport, PullReport
from controlplane.ports.health import Probe
from controlplane.ports.runtime import KEPT_RUNS, Running
from tests.fakes.world import World

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the bytes of one digest behave; all times in seconds.

    `unready` are windows (from, to) counted from the start in which a running instance answers
    "not ready"; `streams_s` is how long its running streams last once it drains (0: it has none).
    The first `pull_failures` attempts, the first `job_failures` migrations and the first
    `smoke_failures` checks on each host fail.
    `answers_as` is what an instance claims to be instead of what was started.
    """

    start_s: float = 1.0
    ready: bool = True
    unready: tuple[tuple[float, float], ...] = ()
    crash_after_s: float | None = None
    stop_s: float = 0.2
    streams_s: float = 0.0
    answers_as: Spec | None = None
    pull_s: float = 0.5
    pull_failures: int = 0
    pull_error: str = "the source did not answer"
    pull_permanent: bool = False
    job_s: float = 0.5
    job_failures: int = 0
    smoke_failures: int = 0


@dataclass(slots=True)
class FakeProcess:
    """One started instance; `ends` and `streams_end` are world times."""

    slot: int
    spec: Spec
    address: str
    started: float
    behaviour: Behaviour
    ends: float
    stopping: bool = False
    draining: bool = False
    streams_end: float = NEVER
    detail: str = ""
    view: Running | None = None
    probe: Probe | None = None
    environ: dict[str, str] = field(default_factory=dict)
    digest: str = ""

    def seen(self, now: float) -> Running:
        """How the runtime lists it; the last answer again while it is still true (for speed)."""
        view, alive = self.view, now < self.ends
        if view is None or view.alive != alive or view.stopping != self.stopping:
            view = self.view = Running(
                self.slot, self.spec, self.address, alive, self.started, self.stopping, self.detail
            )
        return view

    def streams(self, now: float) -> int:
        running = self.behaviour.streams_s > 0 and now < min(self.streams_end, self.ends)
        return int(running and now >= self.started + self.behaviour.start_s)

    def up(self, now: float) -> bool:
        return self.started + self.behaviour.start_s <= now < self.ends

    def ready(self, now: float) -> bool:
        if not self.up(now) or not self.behaviour.ready or self.draining or self.stopping:
            return False
        age = now - self.started
        return all(age < begin or age >= end for begin, end in self.behaviour.unready)


@dataclass(slots=True)
class FakePull:
    done_at: float
    report: ImageReport

    @property
    def error(self) -> str:
        return self.report.error


@dataclass(slots=True)
class FakeJob:
    job: Job
    done_at: float
    fails: bool
    settled: bool = False


@dataclass(slots=True)
class FakeMachine:
    """What survives the death of an agent: processes, bytes and one-shot runs of one host.

    While `broken` the runtime raises, and what was asked of it before goes on. `behaviours` is by
    digest and may be shared between hosts. `outages` are world-time windows in
    which no instance here is ready. `on_job` is called once for each job that succeeded,
    `on_start` after each start.
    """

    world: World
    host: str
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    on_job: Callable[[Job], None] = lambda job: None
    on_start: Callable[[], None] = lambda: None
    outages: list[tuple[float, float]] = field(default_factory=list)
    slots: dict[int, FakeProcess] = field(default_factory=dict)
    pulls: dict[str, FakePull] = field(default_factory=dict)
    runs: dict[str, FakeJob] = field(default_factory=dict)
    pull_attempts: dict[str, int] = field(default_factory=dict)
    job_attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    starts: int = 0
    broken: bool = False
    # What instances start with from now on.
    environ: dict[str, str] = field(default_factory=dict)

    def behaviour(self, digest: str) -> Behaviour:
        return self.behaviours.get(digest, DEFAULT)

    def has(self, digest: str) -> bool:
        pull = self.pulls.get(digest)
        return pull is not None and not pull.error and pull.done_at <= self.world.now

    def preload(self, release: Release) -> None:
        """The bytes are here already."""
        self.pulls[release.digest] = FakePull(self.world.now, ImageReport(release.digest, True))

    def preload_job(self, job: Job, state: JobState) -> None:
        """A one-shot run has ended here already."""
        self.runs[job.id] = FakeJob(job, self.world.now, state is JobState.FAILED, settled=True)

    def crash(self, slot: int) -> None:
        """The slot's process dies by itself, now."""
        if process := self.slots.get(slot):
            process.ends = min(process.ends, self.world.now)

    def alive(self) -> tuple[FakeProcess, ...]:
        now = self.world.now
        return tuple(p for p in self.slots.values() if now < p.ends)

    def at(self, address: str) -> FakeProcess | None:
        for process in self.slots.values():
            if process.address == address:
                return process
        return None

    def ready(self, process: FakeProcess) -> bool:
        now = self.world.now
        if not process.ready(now):
            return False
        return not self.outages or all(now < a or now >= b for a, b in self.outages)

    def settle(self) -> None:
        """Apply what jobs have done by now; call it before looking at what jobs change."""
        for run in self.runs.values():
            if not run.settled and run.done_at <= self.world.now:
                run.settled = True
                if not run.fails:
                    self.on_job(run.job)

    def begin(self, slot: int, release: Release) -> None:
        now = self.world.now
        held = self.slots.get(slot)
        if held is not None and now < held.ends:
            return
        self.starts += 1
        address = f"{self.host}:{20_000 + self.starts}"
        behaviour = self.behaviour(release.digest)
        present = self.has(release.digest)
        ends = NEVER if behaviour.crash_after_s is None else now + behaviour.crash_after_s
        # Two starts never share a time, not even in one instant of the world.
        started = now + self.starts * 1e-9
        process = FakeProcess(
            slot, release.spec, address, started, behaviour, ends if present else now
        )
        process.environ = dict(self.environ)
        process.digest = release.digest if present else ""
        if not present:
            process.detail = f"The bytes of {release.digest} are not on this host; pull them first."
        self.slots[slot] = process
        self.on_start()

    def end(self, slot: int, grace_s: float) -> None:
        process = self.slots.get(slot)
        if process is None:
            return
        now = self.world.now
        if now >= process.ends:
            del self.slots[slot]
            return
        if not process.stopping:
            process.stopping = True
            process.ends = min(process.ends, now + process.behaviour.stop_s)
        process.ends = min(process.ends, now + grace_s)

    def fetch(self, release: Release) -> None:
        now = self.world.now
        known = self.pulls.get(release.digest)
        if known is not None and (not known.error or known.report.permanent or known.done_at > now):
            return
        behaviour = self.behaviour(release.digest)
        attempt = self.pull_attempts.get(release.digest, 0) + 1
        self.pull_attempts[release.digest] = attempt
        report = ImageReport(release.digest, True)
        if attempt <= behaviour.pull_failures:
            error, permanent = behaviour.pull_error, behaviour.pull_permanent
            report = ImageReport(release.digest, False, error, permanent)
        self.pulls[release.digest] = FakePull(now + behaviour.pull_s, report)

    def drop(self, keep: frozenset[str]) -> None:
        now = self.world.now
        used = {p.spec.digest for p in self.slots.values() if now < p.ends}
        for digest, pull in list(self.pulls.items()):
            if digest not in keep and digest not in used and pull.done_at <= now:
                del self.pulls[digest]

    def run(self, job: Job) -> None:
        if job.id in self.runs:
            return
        digest = job.release.digest
        behaviour = self.behaviour(digest)
        attempt = self.job_attempts.get((digest, job.command[0]), 0) + 1
        self.job_attempts[digest, job.command[0]] = attempt
        smoke = job.command[0] == "smoke"
        missing = not self.has(digest)
        fails = missing or attempt <= (
            behaviour.smoke_failures if smoke else behaviour.job_failures
        )
        done_at = self.world.now + (0.0 if missing else behaviour.job_s)
        self.runs[job.id] = FakeJob(job, done_at, fails)


DEFAULT = Behaviour()


class FakeRuntime:
    """The runtime port over a machine; an agent may lose it at any point, the machine stays."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._world = machine.world

    async def _point(self, name: str) -> None:
        await self._world.point(name)
        if self._machine.broken:
            raise RuntimeUnavailable(f"The engine of {self._machine.host} does not answer.")

    async def running(self) -> tuple[Running, ...]:
        await self._point("runtime.running")
        now = self._world.now
        slots = self._machine.slots
        gone = [p.slot for p in slots.values() if p.stopping and p.ends <= now]
        for slot in gone:
            del slots[slot]
        return tuple(
            Running(
                *(p.slot, p.spec, p.address, now < p.ends, p.started, p.stopping, p.detail),
                *(p.digest, p.environ),
            )
            for p in slots.values()
        )

    async def environ(self) -> dict[str, str]:
        return self._machine.environ

    async def start(self, slot: int, release: Release) -> None:
        await self._point("runtime.start")
        self._machine.begin(slot, release)
        await self._world.point("runtime.start.done")

    async def stop(self, slot: int, grace_s: float) -> None:
        await self._point("runtime.stop")
        self._machine.end(slot, grace_s)
        await self._world.point("runtime.stop.done")

    async def pull(self, release: Release) -> None:
        await self._point("runtime.pull")
        self._machine.fetch(release)
        await self._world.point("runtime.pull.done")

    async def images(self) -> tuple[ImageReport, ...]:
        await self._point("runtime.images")
        now = self._world.now
        return tuple([p.report for p in self._machine.pulls.values() if p.done_at <= now])

    async def pulls(self) -> tuple[PullReport, ...]:
        return ()

    async def prune(self, keep: frozenset[str]) -> None:
        await self._point("runtime.prune")
        self._machine.drop(keep)
        await self._world.point("runtime.prune.done")

    async def run_once(self, job: Job) -> None:
        await self._point("runtime.run_once")
        self._machine.run(job)
        await self._world.point("runtime.run_once.done")

    async def jobs(self) -> tuple[JobReport, ...]:
        await self._point("runtime.jobs")
        self._machine.settle()
        now = self._world.now
        return tuple([_job_report(run, now) for run in self._machine.runs.values()])

    async def forget_jobs(self, wanted: frozenset[str]) -> None:
        await self._point("runtime.forget_jobs")
        now = self._world.now
        runs = self._machine.runs
        ended = [name for name, r in runs.items() if name not in wanted and now >= r.done_at]
        for name in ended[:-KEPT_RUNS]:
            del runs[name]

    async def logs(self, slot: int, lines: int) -> tuple[str, ...]:
        await self._point("runtime.logs")
        process = self._machine.slots.get(slot)
        return (f"started {process.spec.version}",)[:lines] if process else ()


def _job_report(run: FakeJob, now: float) -> JobReport:
    if now < run.done_at:
        return JobReport(run.job.id, JobState.RUNNING)
    if run.fails:
        return JobReport(run.job.id, JobState.FAILED, "the one-shot run failed")
    return JobReport(run.job.id, JobState.SUCCEEDED)
