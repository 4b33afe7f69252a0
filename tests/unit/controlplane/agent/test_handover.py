"""The host passes from an agent to its successor, or comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from controlplane.agent.handover import TAKEOVER_S, await_host, hand_over
from controlplane.agent.loop import Agent
from controlplane.domain.errors import HostTaken, Skewed
from controlplane.domain.goals import AgentGoal
from controlplane.domain.model import Environment, Policy, State
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.reports import AgentReport
from tests.build import NEW, OLD, rollout
from tests.fakes.bus import FakeBus
from tests.fakes.health import FakeHealth
from tests.fakes.memory import FakeMemory
from tests.fakes.redis import FakeRedis
from tests.fakes.runtime import FakeMachine, FakeRuntime
from tests.fakes.store import FakeStore
from tests.fakes.succession import FakeCouncil, FakeSuccession
from tests.fakes.world import StrikingWorld

POLICY = Policy(start_deadline_s=5.0, update_agents=True)
GOAL = AgentGoal(NEW, 1.0)


@dataclass
class Seat:
    """The host's lock; another holder may have it."""

    taken: bool = True
    others: bool = False

    def open(self) -> None:
        if self.others:
            raise HostTaken("Another agent works for host-a.")
        self.taken = True

    def close(self) -> None:
        self.taken = False


@dataclass
class Ground:
    """A host whose agent is of the old release, with a rollout to the new one being verified."""

    world: StrikingWorld = field(default_factory=StrikingWorld)
    council: FakeCouncil = field(default_factory=lambda: FakeCouncil([OLD.digest]))
    seat: Seat = field(default_factory=Seat)

    def __post_init__(self) -> None:
        environment = Environment("test", ("host-a",), ("http://e",), POLICY)
        self.store = FakeStore(self.world, environment)
        self.store.issued = 1
        machine = FakeMachine(self.world, "host-a", {})
        self.agent = Agent(
            host="host-a",
            store=self.store,
            runtime=FakeRuntime(machine),
            health=FakeHealth(self.world, {"host-a": machine}),
            memory=FakeMemory(),
            bus=FakeBus(FakeRedis(self.world)),
            clock=self.world,
            succession=FakeSuccession(self.council, OLD.digest),
        )
        self.store.start(rollout(State.VERIFYING, policy=POLICY))
        row = self.store.hosts["host-a"]
        self.store.hosts["host-a"] = replace(row, agent=GOAL)

    @property
    def heir(self) -> FakeSuccession:
        (heir,) = self.council.waiting.values()
        return heir

    def told(self) -> AgentReport:
        report = self.store.hosts["host-a"].report
        assert report is not None
        assert report.agent is not None
        return report.agent

    async def ready(self) -> None:
        await self.agent.tick()
        await self.heir.announce()
        await self.agent.tick()

    async def handed_over(self, meanwhile: Callable[[], None]) -> asyncio.Event:
        """Hand over while something happens; the event says whether we were asked to stop."""
        stop = asyncio.Event()

        async def stepped_down() -> None:
            asyncio.get_running_loop().call_soon(meanwhile)

        async with asyncio.timeout(5):
            await hand_over(self.agent, self.seat, stepped_down, self.world, stop)
        return stop


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_agent_starts_its_successor_and_leaves_the_lead_to_others(ground: Ground) -> None:
    await ground.agent.tick()
    assert ground.heir.digest == NEW.digest
    assert ground.agent.replaced()
    assert not ground.agent.retires


async def test_agent_retires_once_its_successor_waits_for_the_host(ground: Ground) -> None:
    await ground.ready()
    assert ground.agent.retires


async def test_agent_of_the_wanted_release_begins_nothing(ground: Ground) -> None:
    ground.agent.succession = FakeSuccession(ground.council, NEW.digest)
    await ground.agent.tick()
    assert not ground.agent.replaced()
    assert ground.council.waiting == {}


async def test_successor_that_fails_is_told_and_not_tried_again(ground: Ground) -> None:
    ground.council.lame[NEW.digest] = "its successor ended with code 1."
    for _ in range(4):
        await ground.agent.tick()
    assert ground.told() == AgentReport(
        OLD.digest, refused=GOAL.since, detail="its successor ended with code 1."
    )
    assert ground.council.waiting == {}
    assert not ground.agent.replaced()


async def test_successor_that_is_not_there_in_time_is_removed(ground: Ground) -> None:
    await ground.agent.tick()
    ground.world.now += POLICY.start_deadline_s + 1
    await ground.agent.tick()
    assert "not there in time" in ground.told().detail
    assert ground.council.waiting == {}


async def test_goal_of_a_rollout_that_paused_is_dropped_with_its_successor(ground: Ground) -> None:
    await ground.agent.tick()
    ground.store.steer(rollout(State.PAUSED, policy=POLICY))
    await ground.agent.tick()
    assert ground.council.waiting == {}
    assert not ground.agent.replaced()


async def test_host_comes_back_when_the_successor_ends_amid_the_handover(ground: Ground) -> None:
    await ground.ready()
    await ground.handed_over(ground.council.waiting.clear)
    assert ground.seat.taken
    await ground.agent.tick()
    assert ground.told().detail == "its successor is gone."


async def test_host_comes_back_when_the_successor_does_not_finish(ground: Ground) -> None:
    await ground.ready()

    def time_passes() -> None:
        ground.world.now += TAKEOVER_S + 1

    await ground.handed_over(time_passes)
    assert ground.seat.taken
    assert ground.council.waiting == {}


async def test_retired_agent_stays_away_until_it_is_asked_to_stop(ground: Ground) -> None:
    await ground.ready()
    stop = asyncio.Event()

    async def stepped_down() -> None:
        asyncio.get_running_loop().call_soon(stop.set)

    async with asyncio.timeout(5):
        await hand_over(ground.agent, ground.seat, stepped_down, ground.world, stop)
    assert not ground.seat.taken


async def test_who_succeeds_nobody_takes_the_host_or_is_refused(ground: Ground) -> None:
    ground.seat.others = True
    with pytest.raises(HostTaken):
        await await_host(ground.agent.succession, ground.seat, ground.world, lambda: False)


async def test_successor_takes_the_host_when_its_predecessor_leaves(ground: Ground) -> None:
    await ground.agent.tick()
    ground.seat.taken, ground.seat.others = False, True

    def leaves() -> None:
        ground.seat.others = False

    asyncio.get_running_loop().call_later(0.05, leaves)
    async with asyncio.timeout(5):
        await await_host(ground.heir, ground.seat, ground.world, lambda: False)
    assert ground.seat.taken


async def test_successor_removes_its_predecessor_only_after_it_reported(ground: Ground) -> None:
    await ground.ready()
    ground.agent.succession = ground.heir
    ground.store.down = True
    with pytest.raises(Exception, match="down"):
        await ground.agent.tick()
    assert ground.council.seated == [OLD.digest]
    ground.store.down = False
    await ground.agent.tick()
    assert ground.council.seated == [NEW.digest]


async def test_goals_of_a_leader_too_far_apart_are_refused(ground: Ground) -> None:
    ground.store.protocol = PROTOCOL + 2
    with pytest.raises(Skewed, match=r"speaks protocol 3 and this agent 1"):
        await ground.agent.tick()
