"""The agent's story: read what this host should run, look at it, take the next step, report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from controlplane.agent import status
from controlplane.agent.status import Watch
from controlplane.domain.fleet import (
    Goal,
    HostDesired,
    HostReport,
    JobState,
    Phase,
    SlotGoal,
    SlotReport,
)
from controlplane.domain.invariants import i5_not_outdated
from controlplane.domain.model import Policy
from controlplane.ports.bus import Bus
from controlplane.ports.clock import Clock
from controlplane.ports.health import Health, Probe
from controlplane.ports.memory import Memory
from controlplane.ports.runtime import Running, Runtime
from controlplane.ports.store import Store

CALM_S = 1.0
BUSY_S = 0.1
MAX_BACKOFF_S = 10.0


@dataclass(slots=True)
class Agent:
    """The one agent of a host. It never decides: it carries out goals and measures."""

    host: str
    store: Store
    runtime: Runtime
    health: Health
    memory: Memory
    bus: Bus
    clock: Clock
    version: str = ""
    watches: dict[int, Watch] = field(default_factory=dict)
    looked: bool = False

    async def tick(self) -> float:
        """One look and the next step of every slot. Returns the seconds until the next look.

        Raises Unavailable when the store does not answer; nothing on the host changes then.
        """
        desired = await self.store.desired(self.host)
        if desired is None or not i5_not_outdated(self.memory.epoch(), desired.epoch):
            return CALM_S
        if desired.epoch > self.memory.epoch():
            self.memory.remember(desired.epoch)
        await self._hold_images(desired)
        await self._run_jobs(desired)
        slots = await self._slots(desired)
        if await self.store.report(await self._report(desired, slots)):
            await self.bus.nudge("leader", "events")
        self.looked = True
        return CALM_S if _calm(desired, slots) else BUSY_S

    async def _hold_images(self, desired: HostDesired) -> None:
        present = {i.digest for i in await self.runtime.images() if i.present}
        wanted = frozenset(r.digest for r in desired.images)
        for release in desired.images:
            if release.digest not in present:
                await self.runtime.pull(release)
        if present - wanted:
            await self.runtime.prune(wanted | {g.release.digest for g in desired.slots})

    async def _run_jobs(self, desired: HostDesired) -> None:
        known = {j.id for j in await self.runtime.jobs()}
        for job in desired.jobs:
            if job.id not in known and job.state in (JobState.WAITING, JobState.RUNNING):
                await self.runtime.run_once(job)

    async def _slots(self, desired: HostDesired) -> tuple[SlotReport, ...]:
        goals = {g.slot: g for g in desired.slots}
        running = {r.slot: r for r in await self.runtime.running()}
        for slot, goal in goals.items():
            if slot not in running and goal.goal is Goal.RUN:
                await self.runtime.start(slot, goal.release)
        self.watches = {s: w for s, w in self.watches.items() if s in running}
        return tuple(
            [await self._slot(running[s], goals.get(s), desired.policy) for s in sorted(running)]
        )

    async def _slot(self, running: Running, goal: SlotGoal | None, policy: Policy) -> SlotReport:
        """Look at one process, take its next step, and say what was seen."""
        watch = status.follow(self.watches.get(running.slot), running, adopted=not self.looked)
        probe = await self.health.probe(running.address) if running.alive else Probe(ready=False)
        now = self.clock.monotonic()
        watch = status.probed(watch, probe, running.spec, now)
        match goal.goal if goal else None:
            case Goal.RUN if not running.alive:
                watch = await self._restart(watch, running, goal, now)
            case Goal.DRAIN:
                watch = await self._drain(watch, running, probe, policy, now)
            case Goal.STOP:
                await self.runtime.stop(running.slot, policy.stop_grace_s)
            case _:
                pass
        self.watches[running.slot] = watch
        return status.report(watch, running, probe, policy, now)

    async def _restart(
        self, watch: Watch, running: Running, goal: SlotGoal | None, now: float
    ) -> Watch:
        """Run an instance again that ended by itself, ever more slowly."""
        if goal is None or now < watch.restart_at:
            return watch
        await self.runtime.start(running.slot, goal.release)
        backoff_s = min(MAX_BACKOFF_S, 0.25 * 2**watch.restarts)
        return replace(watch, restarts=watch.restarts + 1, restart_at=now + backoff_s)

    async def _drain(
        self, watch: Watch, running: Running, probe: Probe, policy: Policy, now: float
    ) -> Watch:
        if watch.drain_since is None and running.alive:
            await self.health.drain(running.address, policy.drain_deadline_s)
            return replace(watch, drain_since=now)
        return status.draining(watch, probe, now)

    async def _report(self, desired: HostDesired, slots: tuple[SlotReport, ...]) -> HostReport:
        return HostReport(
            host=self.host,
            epoch=desired.epoch,
            desired_version=desired.version,
            slots=slots,
            images=await self.runtime.images(),
            jobs=await self.runtime.jobs(),
            agent_version=self.version,
        )


def _calm(desired: HostDesired, slots: tuple[SlotReport, ...]) -> bool:
    """Everything is as it should be, so that a look a second is enough."""
    healthy = {s.slot for s in slots if s.phase is Phase.HEALTHY}
    wanted = {g.slot for g in desired.slots if g.goal is Goal.RUN}
    return healthy == wanted and len(slots) == len(desired.slots) == len(wanted)
