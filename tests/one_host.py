"""An agent of one host over fakes, on virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from controlplane.adapters.process.no_succession import NoSuccession
from controlplane.agent.loop import Agent
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.model import Environment, Policy, Release
from controlplane.domain.reports import SlotReport
from tests.build import OLD
from tests.fakes.bus import FakeBus
from tests.fakes.health import FakeHealth
from tests.fakes.memory import FakeMemory
from tests.fakes.redis import FakeRedis
from tests.fakes.runtime import Behaviour, FakeMachine, FakeRuntime
from tests.fakes.store import FakeStore
from tests.fakes.world import StrikingWorld

POLICY = Policy(
    min_healthy_s=0.5, start_deadline_s=5.0, drain_deadline_s=3.0, stop_grace_s=1.0, max_restarts=2
)


@dataclass
class Ground:
    """One host on virtual time, with a store that it can be told through."""

    world: StrikingWorld = field(default_factory=StrikingWorld)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.redis = FakeRedis(self.world)
        self.store = FakeStore(self.world, Environment("test", ("host-a",), ("http://e",), POLICY))
        self.store.issued = 1
        self.machine = FakeMachine(self.world, "host-a", self.behaviours)
        self.machine.preload(OLD)
        self.memory = FakeMemory()
        self.agent = self.born()

    def born(self) -> Agent:
        runtime, health = (
            FakeRuntime(self.machine),
            FakeHealth(self.world, {"host-a": self.machine}),
        )
        bus = FakeBus(self.redis)
        ports = (self.store, runtime, health, self.memory, bus, self.world)
        return Agent("host-a", *ports, NoSuccession())

    def want(self, goal: Goal, release: Release = OLD) -> None:
        self.store.slots["host-a", 1] = SlotGoal("host-a", 1, release, goal, self.world.now)
        self.touched()

    def hold(self, *images: Release) -> None:
        row = self.store.hosts["host-a"]
        self.store.hosts["host-a"] = replace(row, images=images)
        self.touched()

    def touched(self) -> None:
        self.store._goals = None
        self.store._desired.clear()

    async def ticks(self, seconds: float) -> None:
        """Let time pass in the steps that the agent asks for."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.now += await self.agent.tick()

    def told(self) -> SlotReport:
        report = self.store.hosts["host-a"].report
        assert report is not None
        return report.slots[0]
