"""A whole environment in virtual time: production leaders and agents over fake ports."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from controlplane.adapters.process.no_succession import NoSuccession
from controlplane.agent.loop import Agent
from controlplane.domain.goals import Goal, Job, SlotGoal
from controlplane.domain.model import Environment, Kind, Policy, Release, Rollout, State, enter
from controlplane.domain.records import HostRow
from controlplane.domain.routing import Member, Table
from controlplane.domain.truth import adopted, beyond
from controlplane.leader.loop import Leader
from controlplane.leader.tenure import Tenure
from tests.fakes.bus import FakeBus
from tests.fakes.health import FakeHealth
from tests.fakes.lease import FakeLease
from tests.fakes.memory import FakeMemory
from tests.fakes.redis import FakeRedis
from tests.fakes.routing import FakeEdge, FakeRouting
from tests.fakes.runtime import Behaviour, FakeMachine, FakeRuntime
from tests.fakes.store import FakeStore
from tests.simulation.links import Link, Past
from tests.simulation.scheduler import Actor, Scheduler, SimWorld

# Loops look this many times more slowly than in production: fewer turns, the same order. Agents
# still report before they count as silent.
AGENT_STRETCH, AGENT_LONGEST_S = 4.0, 2.5
LEADER_STRETCH, LEADER_LONGEST_S = 4.0, 2.0
NAME = "sim"
# Until all have reported again, the leader knows less of the fleet than there is.
FORGIVEN_S = 8.0


def release(version: str, schema: str = "0001") -> Release:
    return Release(version, f"sha256:{version}", f"/{version}", "abc", schema, "0001", "cfg")


V1, V2, V3 = release("1.0.0"), release("1.1.0", "0002"), release("1.2.0", "0002")


@dataclass(slots=True, eq=False)
class Process:
    """One agent process: the agent, its candidate for leadership, and the lease renewal."""

    host: str
    agent: Actor
    leader: Actor
    renewer: Actor
    tenure: Tenure
    again: Callable[[], object] = lambda: None
    alive: bool = True
    paused_until: float = 0.0

    @property
    def actors(self) -> tuple[Actor, ...]:
        return self.agent, self.leader, self.renewer


@dataclass(slots=True)
class Cluster:
    """Everything of one seed. Machines, store, Redis and edges outlive processes."""

    rng: Random
    policy: Policy
    hosts: tuple[str, ...]
    behaviours: dict[str, Behaviour]
    edges: int = 1
    world: SimWorld = field(init=False)
    store: FakeStore = field(init=False)
    redis: FakeRedis = field(init=False)
    routing: FakeRouting = field(init=False)
    machines: dict[str, FakeMachine] = field(init=False)
    memories: dict[str, FakeMemory] = field(init=False)
    links: dict[str, Link] = field(init=False)
    past: Past = field(init=False)
    # When nobody could lead, and until when nothing is held against what went back in time.
    unled: list[tuple[float, float]] = field(default_factory=list)
    forgiven_until: float = 0.0
    # What the operator asked for last, and asks for again when it was forgotten.
    asked: Release = V2
    on_forget: Callable[[], object] = lambda: None
    # Second machines under the name of a host, each with an agent of its own.
    twins: dict[str, FakeMachine] = field(default_factory=dict)
    twins_to_come: set[str] = field(default_factory=set)
    on_twin_start: Callable[[str], None] = lambda name: None
    processes: dict[str, Process] = field(default_factory=dict)
    scheduler: Scheduler = field(init=False)
    timers: list[tuple[float, int, Callable[[], object]]] = field(default_factory=list)
    serials: Iterator[int] = field(default_factory=itertools.count)
    births: int = 0

    def __post_init__(self) -> None:
        self.world = SimWorld(self.rng)
        names = tuple(f"http://edge-{n}" for n in range(self.edges))
        environment = Environment(NAME, self.hosts, names, self.policy, current=V1)
        self.store = FakeStore(self.world, environment)
        self.redis = FakeRedis(self.world)
        self.redis.on_nudge = self._nudged
        edges = [FakeEdge(self.world, n, self.rng.uniform(0.02, 0.4)) for n in names]
        self.routing = FakeRouting(self.redis, edges, NAME)
        self.machines = {h: self._machine(h) for h in self.hosts}
        self.memories = {h: FakeMemory() for h in self.hosts}
        self.links = {h: Link(self.store) for h in self.hosts}
        self.past = Past(self.store)
        self.scheduler = Scheduler(self.world, lambda _: 0.0, lambda *_: 1.0)

    def _machine(self, name: str) -> FakeMachine:
        return FakeMachine(self.world, name, self.behaviours, self._migrated)

    def machine(self, host: str) -> FakeMachine:
        """The machine that works under a host's name."""
        twin = self.twins.get(host)
        held = twin is not None and self.store.hosts[host].holder == twin.host
        return twin if twin is not None and held else self.machines[host]

    def _migrated(self, job: Job) -> None:
        if job.command[0] == "migrate":
            self.store.schema = self.store.schema | {job.release.schema_head}

    def _nudged(self, topic: str) -> None:
        latency = self.rng.uniform(0.001, 0.02)
        for process in self.processes.values():
            if process.alive and topic == "leader":
                self.scheduler.wake(process.leader, latency)
            elif process.alive and topic == f"host:{process.host}":
                self.scheduler.wake(process.agent, latency)

    def settled(self, running: Release) -> None:
        """The environment already runs a release on every slot, known to all."""
        now = self.world.now
        members = set()
        goals: list[SlotGoal] = []
        for host, machine in self.machines.items():
            machine.preload(running)
            for slot in range(1, self.policy.instances_per_host + 1):
                machine.begin(slot, running)
                goal = SlotGoal(host, slot, running, Goal.RUN, now, admitted_once=True)
                goals.append(goal)
                members.add(Member(host, slot, machine.slots[slot].address))
        self.store.slots = {(g.host, g.slot): g for g in goals}
        self.store._goals = None
        # It was led until now; 0 would mean that it never was.
        self.store.led_at = now + 0.001
        self.store.table = Table(1, frozenset(members))
        for edge in self.routing.edges:
            edge.offer(self.store.table)
        self.redis.put(f"camp:{NAME}:routing:revision", 1)
        self.redis.put(f"camp:{NAME}:routing:table", self.store.table)

    def boot(self, host: str) -> None:
        """Start the agent process of a host."""
        process = self._boot(host, self.machines[host], self.memories[host])
        process.again = lambda: self.boot(host)

    def boot_twin(self, host: str) -> None:
        """Another machine, whose agent was started with the name of this host."""
        twin = self.twins[host] = self._machine(f"{host}-twin")
        twin.on_start = lambda: self.on_twin_start(twin.host)
        self._boot(host, twin, FakeMemory())

    def end_twin(self, host: str) -> None:
        """The second machine is switched off."""
        process = self.processes.pop(f"{host}-twin", None)
        if process is not None:
            self.kill(process)
        for instance in self.twins[host].alive():
            instance.ends = self.world.now

    def _boot(self, host: str, machine: FakeMachine, memory: FakeMemory) -> Process:
        self.births += 1
        world, link = self.world, self.links[host]
        bus = FakeBus(self.redis)
        lease = FakeLease(self.redis, NAME)
        tenure = Tenure(f"{host}#{self.births}", lease, link, world)
        everywhere = {m.host: m for m in (*self.machines.values(), machine)}
        leader = Leader(tenure, link, self.routing, bus)
        health = FakeHealth(world, everywhere)
        ports = (link, FakeRuntime(machine), health, memory, bus, world)
        agent = Agent(host, *ports, NoSuccession(), id=machine.host)
        leader.abstains = agent.yields
        process = Process(
            host,
            Actor(f"agent {machine.host}", agent.tick, AGENT_STRETCH, AGENT_LONGEST_S),
            Actor(f"leader {machine.host}", leader.tick, LEADER_STRETCH, LEADER_LONGEST_S),
            Actor(f"renewer {machine.host}", lambda: _renewed(tenure)),
            tenure,
        )
        self.processes[machine.host] = process
        for actor in process.actors:
            actor.owner = process
            self.scheduler.at(actor, world.now + self.rng.uniform(0.0, 0.3))
        return process

    def kill(self, process: Process) -> None:
        process.alive = False
        for actor in process.actors:
            self.scheduler.drop(actor)

    def start(self, target: Release, *, restart: bool = False) -> Rollout:
        """What the router does when an operator starts a rollout."""
        now, self.asked = self.world.now, target
        source = self.store.environment.current
        blank = Rollout(
            *(f"r{self.births}-{next(self.serials)}", NAME, Kind.DEPLOY, target, source),
            *(self.policy, State.PENDING, now, now, now),
            restart=restart,
        )
        rollout = enter(blank, State.PENDING, now)
        self.store.start(rollout)
        self._nudged("leader")
        return rollout

    def later(self, after_s: float, strike: Callable[[], object]) -> None:
        """Do something at a time of its own, outside of any process."""
        heapq.heappush(self.timers, (self.world.now + after_s, next(self.serials), strike))

    def step(self, until: float) -> bool:
        """Let the next thing happen, a timer or a turn; false when nothing is due by `until`."""
        horizon = min(until, self.timers[0][0]) if self.timers else until
        if self.scheduler.step(horizon):
            return True
        if self.timers and self.timers[0][0] <= until:
            at, _, strike = heapq.heappop(self.timers)
            self.world.now = max(self.world.now, at)
            strike()
            return True
        return False

    def forget(self, commits: int, epochs: int) -> None:
        """PostgreSQL loses its last commits, and all since before its last epochs."""
        if self.past.go_back(commits, epochs):
            self.forgiven_until = self.world.now + FORGIVEN_S
            self.on_forget()
            # The operator looks now and then whether there is something to accept.
            for after_s in range(0, 900, 15):
                self.later(after_s + self.rng.uniform(2.0, 10.0), self.accept_truth)

    def accept_truth(self) -> None:
        """What the router does when an operator accepts what PostgreSQL says now."""
        if self.redis.down or self.store.down:
            self.later(1.0, self.accept_truth)
            return
        store, key = self.store, f"camp:{NAME}:routing"
        held = self.redis.get(f"camp:{NAME}:leader")
        obeyed = max((r.report.epoch for r in store.hosts.values() if r.report), default=0)
        epoch = max(self.redis.get(f"{key}:epoch") or 0, held[1] if held else 0, obeyed)
        revision = self.redis.get(f"{key}:revision") or 0
        said = self.redis.get(f"camp:{NAME}:leader:reason")
        behind = said is not None and said.code == "truth_went_back"
        if behind or epoch > store.issued or revision > store.table.revision:
            self.forgiven_until = self.world.now + FORGIVEN_S
            now = beyond(max(store.issued, epoch), max(revision, store.table.revision))
            known = {r.digest: r for r in (V1, V2)}
            goals, table = adopted(store.snapshot(), known)
            store.issued, store.table = now.epoch, Table(now.revision, table.members)
            store.slots = {(g.host, g.slot): g for g in goals}
            store._goals = None
            store.apply(store.environment)
            store.hosts = {n: _with_new_goals(row) for n, row in store.hosts.items()}
            self.redis.delete(f"camp:{NAME}:leader:reason")
        if store.rollout is None:
            self.start(self.asked, restart=self.asked is V1)

    def leaders(self) -> list[Process]:
        return [p for p in self.processes.values() if p.alive and p.tenure.epoch is not None]


def _with_new_goals(row: HostRow) -> HostRow:
    acted_on = row.report.desired_version if row.report else 0
    return replace(row, desired_version=1 + max(row.desired_version, acted_on))


async def _renewed(tenure: Tenure) -> float:
    await tenure.renew()
    return 1.0
