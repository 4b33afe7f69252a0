"""A whole environment in virtual time: production leaders and agents over fake ports."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from controlplane.adapters.process.no_succession import NoSuccession
from controlplane.agent.loop import Agent
from controlplane.domain.goals import Goal, Job, SlotGoal
from controlplane.domain.model import Environment, Kind, Policy, Release, Rollout, State, enter
from controlplane.domain.routing import Member, Table
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
from tests.simulation.scheduler import Actor, Scheduler, SimWorld

# Loops look this many times more slowly than in production: fewer turns, the same order. Agents
# still report before they count as silent.
AGENT_STRETCH, AGENT_LONGEST_S = 4.0, 2.5
LEADER_STRETCH, LEADER_LONGEST_S = 4.0, 2.0
NAME = "sim"


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
        self.store.table = Table(1, frozenset(members))
        for edge in self.routing.edges:
            edge.offer(self.store.table)
        self.redis.put(f"camp:{NAME}:routing:revision", 1)

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
        world = self.world
        bus = FakeBus(self.redis)
        lease = FakeLease(self.redis, NAME)
        tenure = Tenure(f"{host}#{self.births}", lease, self.store, world)
        everywhere = {m.host: m for m in (*self.machines.values(), machine)}
        leader = Leader(tenure, self.store, self.routing, bus)
        health = FakeHealth(world, everywhere)
        ports = (self.store, FakeRuntime(machine), health, memory, bus, world)
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
        now = self.world.now
        source = self.store.environment.current
        blank = Rollout(
            *(f"r{self.births}", NAME, Kind.DEPLOY, target, source, self.policy, State.PENDING),
            *(now, now, now),
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

    def leaders(self) -> list[Process]:
        return [p for p in self.processes.values() if p.alive and p.tenure.epoch is not None]


async def _renewed(tenure: Tenure) -> float:
    await tenure.renew()
    return 1.0
