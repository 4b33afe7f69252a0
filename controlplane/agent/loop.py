"""The agent's story: read what this host should run, look at it, take the next step, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn

from controlplane.agent import status
from controlplane.agent.status import Watch
from controlplane.domain.environs import Prints, prints, whole
from controlplane.domain.errors import (
    Fenced,
    HostTaken,
    Invalid,
    NotFound,
    RuntimeUnavailable,
)
from controlplane.domain.goals import AgentGoal, Goal, HostDesired, JobState, SlotGoal
from controlplane.domain.invariants import i5_not_outdated
from controlplane.domain.model import Policy
from controlplane.domain.protocol import require_understood
from controlplane.domain.reports import BLIND_STEP_S, AgentReport, HostReport, Phase, SlotReport
from controlplane.ports.bus import Bus
from controlplane.ports.clock import Clock
from controlplane.ports.health import Health, Probe
from controlplane.ports.memory import Memory
from controlplane.ports.runtime import KEPT_RUNS, Running, Runtime
from controlplane.ports.store import Store
from controlplane.ports.succession import Stage, Succession

CALM_S = 1.0
BUSY_S = 0.1
# What changes only by a new goal, which comes with a nudge.
STEADY = frozenset({Phase.HEALTHY, Phase.FAILED})


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
    succession: Succession
    version: str = ""
    # Made once and kept on disk; in PostgreSQL the host belongs to one id at a time.
    id: str = ""
    refused: bool = False
    watches: dict[int, Watch] = field(default_factory=dict)
    looked: bool = False
    last: HostReport | None = None
    blind_since: float | None = None
    # The successor that is wanted, since when it is awaited, and whether it waits for our place.
    heir: AgentGoal | None = None
    awaited: float = 0.0
    retires: bool = False
    refusal: AgentReport = field(default_factory=AgentReport)
    fetching: frozenset[str] = frozenset()
    # One line for each thing done here, and what the environment's log must be told as well.
    say: Callable[..., object] = lambda _event, **_facts: None
    news: list[tuple[str, str]] = field(default_factory=list)

    async def tick(self) -> float:
        """One look and the next step of every slot. Returns the seconds until the next look.

        Raises Unavailable when the store does not answer, NotFound when the environment has no
        such host, Fenced for goals of an outdated epoch, HostTaken while another agent has the
        host; nothing on the host changes then.
        """
        desired = await self._desired()
        try:
            report, wait_s = await self._carry_out(desired)
        except RuntimeUnavailable as error:
            report, wait_s = self._blind(desired, error), CALM_S
        changed = await self.store.report(report)
        if await self._tell() or changed:
            await self.bus.nudge("leader", "events")
        if self.blind_since is None:
            # Only now: a successor that cannot report must not have removed who could.
            await self.succession.finish()
        return wait_s

    async def _tell(self) -> bool:
        """Write down what happened here, if anything did; what cannot be now is told later."""
        news = tuple(self.news)
        if news:
            await self.store.tell(news)
            del self.news[: len(news)]
        return bool(news)

    async def _carry_out(self, desired: HostDesired) -> tuple[HostReport, float]:
        await self._hold_images(desired)
        await self._run_jobs(desired)
        slots = await self._slots(desired)
        await self._succeed(desired)
        self.looked = True
        self.last = await self._report(desired, slots)
        self.blind_since = None
        return self.last, CALM_S if self.heir is None and _calm(desired, slots) else BUSY_S

    def _blind(self, desired: HostDesired, error: RuntimeUnavailable) -> HostReport:
        """What was seen last, said to be no more than that."""
        now = self.clock.monotonic()
        self.blind_since = now if self.blind_since is None else self.blind_since
        # Who has never seen anything has not acted on any goals either.
        last = self.last or HostReport(
            self.host, desired.epoch, -1, agent_version=self.version, agent_id=self.id
        )
        blind_s = (now - self.blind_since) // BLIND_STEP_S * BLIND_STEP_S
        return replace(last, epoch=desired.epoch, runtime_error=error.sentence, blind_s=blind_s)

    def replaced(self) -> bool:
        """Whether this agent is being replaced."""
        return self.heir is not None

    def yields(self) -> bool:
        """Being replaced, or refused as a second one: another one had better lead."""
        return self.replaced() or self.refused

    async def refuse(self, goal: AgentGoal, detail: str) -> None:
        """Go on: the successor for this goal did not take over."""
        await self.succession.clear()
        self.refusal = AgentReport(refused=goal.since, detail=detail)
        self.heir, self.retires = None, False

    async def _desired(self) -> HostDesired:
        """The goals of the highest epoch this host has heard of."""
        desired = await self.store.desired(self.host)
        if desired is None:
            # Whatever it is told later is not to be compared with what it was told before.
            self.memory.forget_goals()
            raise NotFound(
                f"The environment has no host {self.host}; add it with camp env apply FILE."
            )
        require_understood(self.host, desired.protocol)
        await self._own(desired)
        obeyed = self.memory.epoch()
        if not i5_not_outdated(obeyed, desired.epoch):
            await self._refuse_the_past(desired, obeyed, f"epoch {obeyed}", desired.epoch)
        acted_on = self.memory.acted_on()
        if desired.version < acted_on:
            known = f"goals of version {acted_on}"
            await self._refuse_the_past(desired, obeyed, known, desired.version)
        if desired.epoch > obeyed:
            self.memory.remember(desired.epoch)
        self.memory.act_on(desired.version)
        return desired

    async def _refuse_the_past(
        self, desired: HostDesired, obeyed: int, known: str, said: int
    ) -> NoReturn:
        """Look without a step and tell the leader: it would go on from what was taken back, and
        an operator who accepts that has to know what runs. Raises Fenced."""
        outdated = Fenced(
            f"{self.host} has obeyed {known} and PostgreSQL says {said}: it was taken back to an"
            " older state. Nothing is changed here until it is past that."
        )
        acted_on = self.memory.acted_on()
        try:
            seen = await self._report(desired, await self._slots(replace(desired, slots=())))
        except RuntimeUnavailable as error:
            seen = self._blind(desired, error)
            acted_on = seen.desired_version
        seen = replace(seen, epoch=obeyed, desired_version=acted_on)
        await self.store.report(replace(seen, runtime_error=outdated.sentence))
        raise outdated

    async def _own(self, desired: HostDesired) -> None:
        """Act for the host only as its one agent. Raises HostTaken."""
        holder = desired.holder
        if holder != self.id:
            holder = await self.store.claim(self.host, self.id)
        self.refused = holder != self.id
        if self.refused:
            raise HostTaken(
                f"Agent {holder} works for {self.host}, so this one, {self.id}, does nothing here."
                " Stop one of them, or start this one with another --host; it takes over once the"
                " other was silent for host_silence_s."
            )

    async def _hold_images(self, desired: HostDesired) -> None:
        present = {i.digest for i in await self.runtime.images() if i.present}
        wanted = frozenset(r.digest for r in desired.images)
        for release in desired.images:
            if release.digest not in present:
                if release.digest not in self.fetching:
                    self.say("fetches", release=release.version, digest=release.digest)
                await self.runtime.pull(release)
        self.fetching = wanted - present
        if present - wanted:
            await self.runtime.prune(wanted | {g.release.digest for g in desired.slots})

    async def _run_jobs(self, desired: HostDesired) -> None:
        """Begin what is wanted and unknown; what has ended and been read may go in time."""
        known = {j.id for j in await self.runtime.jobs()}
        for job in desired.jobs:
            if job.id not in known and job.state in (JobState.WAITING, JobState.RUNNING):
                self.say("runs", job=job.id, command=" ".join(job.command[:2]))
                await self.runtime.run_once(job)
        wanted = frozenset(j.id for j in desired.jobs)
        if len(known - wanted) > KEPT_RUNS:
            await self.runtime.forget_jobs(wanted)

    async def _slots(self, desired: HostDesired) -> tuple[SlotReport, ...]:
        goals = {g.slot: g for g in desired.slots}
        running = {r.slot: r for r in await self.runtime.running()}
        absent = [g for slot, g in goals.items() if slot not in running and g.goal is Goal.RUN]
        for goal in absent:
            self.say("starts", slot=goal.slot, release=goal.release.version)
            await self.runtime.start(goal.slot, goal.release)
        if absent:
            # Who was away for long tells at once what is under way now.
            running = {r.slot: r for r in await self.runtime.running()}
        self.watches = {s: w for s, w in self.watches.items() if s in running}
        for goal in absent:
            # Not adopted: it began under our eyes.
            if goal.slot in running:
                self.watches.setdefault(goal.slot, Watch(running[goal.slot].started))
        for slot, one in running.items():
            self.watches[slot] = status.follow(self.watches.get(slot), one, adopted=not self.looked)
        return await self._steps(desired, goals, running)

    async def _steps(
        self, desired: HostDesired, goals: dict[int, SlotGoal], running: dict[int, Running]
    ) -> tuple[SlotReport, ...]:
        """Ask all instances at once, so that one that hangs does not make its host silent."""
        now = self.clock.monotonic()
        resting = {s for s, one in running.items() if self._rests(one, goals.get(s), now)}
        asked = [r.address for s, r in running.items() if r.alive and s not in resting]
        answers = await self.health.probe_all(asked)
        drains: dict[str, float] = {}
        seen: list[SlotReport] = []
        for slot in sorted(running):
            one, goal, watch = running[slot], goals.get(slot), self.watches[slot]
            probe = watch.answer
            if slot not in resting:
                probe = answers.get(one.address, status.UNASKED) if one.alive else status.UNASKED
                probe = status.proven(probe, one)
                watch = status.probed(
                    watch, probe, one.spec, desired.policy, self.clock.monotonic()
                )
            if goal is not None and goal.goal is Goal.DRAIN:
                asked_s = desired.now - goal.since
                watch, left_s = self._drain(watch, one, probe, asked_s, desired.policy)
                if left_s is not None:
                    drains[one.address] = left_s
            elif goal is not None:
                if probe.draining:
                    watch = status.draining(watch, probe, now)
                watch = await self._step(watch, one, goal, desired.policy)
            self.watches[slot] = watch
            told = status.report(watch, one, probe, desired.policy, self.clock.monotonic())
            environ = whole(prints(desired.secret, one.environ))
            seen.append(replace(told, environ=environ) if environ else told)
        await self.health.drain_all(drains)
        return tuple(seen)

    def _rests(self, running: Running, goal: SlotGoal | None, now: float) -> bool:
        """It was fine a moment ago and shall stay, so that its last answer still holds."""
        stays = running.alive and (goal is None or goal.goal is Goal.RUN)
        return stays and status.recently_fine(self.watches[running.slot], now)

    async def _step(self, watch: Watch, running: Running, goal: SlotGoal, policy: Policy) -> Watch:
        """Run an instance again that ended by itself, or end one.

        A slot may run another release than its goal's when the host was another machine's
        meanwhile: nothing routes to it any more. What was drained and is to run after all, because
        PostgreSQL went back to before its drain, never gets ready again: it begins anew.
        """
        stranger = running.alive and running.spec != goal.release.spec
        spent = running.alive and status.drained(watch, running, policy, self.clock.monotonic())
        if goal.goal is Goal.STOP or stranger or spent:
            if not running.stopping:
                self.say("stops", slot=running.slot, release=running.spec.version)
            await self.runtime.stop(running.slot, policy.stop_grace_s)
        elif not running.alive:
            return await self._restart(watch, running, goal, policy)
        return watch

    async def _restart(
        self, watch: Watch, running: Running, goal: SlotGoal, policy: Policy
    ) -> Watch:
        """Run an instance again that ended by itself, ever more slowly."""
        now = self.clock.monotonic()
        if now < watch.restart_at:
            return watch
        await self.runtime.start(running.slot, goal.release)
        after = status.restarted(watch, now)
        told = status.restart_told(after, running, policy)
        self.say("restarts", slot=running.slot, detail=told)
        if after.restarts <= policy.max_restarts + 1:
            self.news.append(("instance", f"{self.host}/{running.slot} {told}"))
        return after

    def _drain(
        self,
        watch: Watch,
        running: Running,
        probe: Probe,
        asked_s: float,
        policy: Policy,
    ) -> tuple[Watch, float | None]:
        """Follow a drain; and the seconds left for it when the instance must be told of it.

        It is told again while it still calls itself ready.
        """
        now = self.clock.monotonic()
        begun = status.drain_begun(watch, asked_s, now)
        if running.alive and (watch.drain_since is None or probe.ready):
            if watch.drain_since is None:
                self.say("drains", slot=running.slot, release=running.spec.version)
            left_s = max(0.0, begun + policy.drain_deadline_s - now)
            return replace(watch, drain_since=begun), left_s
        return status.draining(watch, probe, begun), None

    async def _succeed(self, desired: HostDesired) -> None:
        """Bring a successor up to where it waits for our place; who fails at that is removed."""
        goal = desired.agent
        if (
            goal is None
            or goal.release.digest == self.succession.digest
            or goal.since == self.refusal.refused
        ):
            if self.heir is not None or not self.looked:
                await self.succession.clear()
            self.heir, self.retires = None, False
            return
        if goal != self.heir:
            self.heir, self.awaited = goal, self.clock.monotonic()
        successor = await self.succession.look(goal)
        overdue = self.clock.monotonic() - self.awaited > desired.policy.start_deadline_s
        match successor.stage:
            case Stage.READY:
                self.retires = True
            case Stage.FAILED:
                await self.refuse(goal, successor.detail)
            case _ if overdue:
                await self.refuse(goal, "its successor was not there in time.")
            case Stage.ABSENT:
                await self.succession.begin(goal)
            case Stage.STARTING:
                pass

    async def _report(self, desired: HostDesired, slots: tuple[SlotReport, ...]) -> HostReport:
        # A run is wanted until the store knows how it ended; nobody reads of others.
        wanted = {j.id for j in desired.jobs}
        jobs = tuple([j for j in await self.runtime.jobs() if j.id in wanted])
        return HostReport(
            host=self.host,
            epoch=desired.epoch,
            desired_version=desired.version,
            slots=slots,
            images=await self.runtime.images(),
            jobs=jobs,
            pulls=await self.runtime.pulls(),
            agent_version=self.version,
            agent_id=self.id,
            environ=await self._environ(desired),
            agent=replace(
                self.refusal, digest=self.succession.digest, obstacle=self.succession.obstacle
            ),
        )

    async def _environ(self, desired: HostDesired) -> Prints:
        """What instances would start with now; a file that cannot be read is told by the start."""
        try:
            return prints(desired.secret, await self.runtime.environ()) if desired.secret else ()
        except Invalid:
            return ()


def _calm(desired: HostDesired, slots: tuple[SlotReport, ...]) -> bool:
    """Nothing is under way here, so that a look a second is enough."""
    goals = {g.slot: g.goal for g in desired.slots}
    return len(goals.keys() - {s.slot for s in slots}) == 0 and all(
        _steady(goals.get(s.slot), s) for s in slots
    )


def _steady(goal: Goal | None, slot: SlotReport) -> bool:
    match goal:
        case Goal.RUN:
            return slot.phase in STEADY
        case Goal.DRAIN:
            return slot.drained
        case Goal.STOP:
            return False
        case None:
            return True
