"""The leader's loop over fakes: it looks, takes one step, and says when to look again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.domain.actions import Plan, StopInstance
from controlplane.domain.errors import (
    BrokenInvariant,
    BusUnavailable,
    StoreUnavailable,
    TruthWentBack,
)
from controlplane.domain.model import Environment, Policy, State
from controlplane.domain.records import Changes
from controlplane.domain.reports import HostReport
from controlplane.domain.routing import Member, Published, Table
from controlplane.leader.loop import (
    AT_ONCE_S,
    FAILURES,
    FOLLOW_S,
    LOOK_S,
    SOON_LOOKS,
    SOON_S,
    Leader,
    decide,
)
from controlplane.leader.tenure import STEP_DOWN_S, Tenure
from tests.build import fleet, full, rollout
from tests.fakes.bus import FakeBus
from tests.fakes.lease import FakeLease
from tests.fakes.redis import FakeRedis
from tests.fakes.routing import FakeEdge, FakeRouting
from tests.fakes.store import FakeStore
from tests.fakes.world import StrikingWorld

EDGE = "http://edge"


class Ground:
    def __init__(self) -> None:
        self.world = StrikingWorld(now=100.0)
        self.redis = FakeRedis(self.world)
        self.edge = FakeEdge(self.world, EDGE)
        environment = Environment("test", ("host-a",), (EDGE,), Policy())
        self.store = FakeStore(self.world, environment)
        self.leader = self.candidate("a")

    def candidate(self, name: str) -> Leader:
        lease = FakeLease(self.redis, "test")
        tenure = Tenure(name, lease, self.store, self.world)
        self.routing = FakeRouting(self.redis, [self.edge], "test")
        return Leader(tenure, self.store, self.routing, FakeBus(self.redis))

    async def ticks(self, until: Callable[[], bool]) -> None:
        """Let the leader work in virtual time."""
        for _ in range(500):
            await self.leader.tenure.renew()
            self.world.now += max(0.01, await self.leader.tick())
            if until():
                return
        raise AssertionError("it never came")

    def blocker(self) -> str:
        rollout = self.store.rollout
        return rollout.blocker.code if rollout and rollout.blocker else ""

    def start(self, state: State = State.PENDING) -> None:
        begun = rollout(state, policy=Policy())
        self.store.start(replace(begun, deadline_at=1000.0))

    def touch(self) -> None:
        """An operator changes the rollout's row."""
        assert self.store.rollout is not None
        self.store.steer(self.store.rollout)


async def test_candidate_becomes_leader_and_publishes_the_table() -> None:
    ground = Ground()
    ground.store.table = Table(3)
    assert await ground.leader.tick() == LOOK_S
    assert ground.edge.reading().revision == 3


async def test_second_candidate_only_follows() -> None:
    ground = Ground()
    await ground.leader.tick()
    assert await ground.candidate("b").tick() == FOLLOW_S


async def test_step_is_written_and_looked_at_again_at_once() -> None:
    ground = Ground()
    ground.start()
    assert await ground.leader.tick() == AT_ONCE_S
    assert ground.store.rollout is not None
    assert ground.store.rollout.state is State.PREFLIGHT


async def test_hosts_concerned_are_woken() -> None:
    ground = Ground()
    ground.start()
    heard: list[str] = []
    ground.redis.on_nudge = heard.append
    await ground.leader.tick()
    await ground.leader.tick()
    assert heard == ["events", "events", "host:host-a"]


async def test_outdated_leader_steps_down_without_an_effect() -> None:
    ground = Ground()
    ground.start()
    await ground.leader.tick()
    before = ground.store.rollout
    ground.store.issued = 2
    assert await ground.leader.tick() == FOLLOW_S
    assert ground.leader.tenure.epoch is None
    assert ground.store.rollout is before


async def test_leader_that_slept_too_long_campaigns_again() -> None:
    ground = Ground()
    await ground.leader.tick()
    ground.world.now += STEP_DOWN_S + 0.1
    await ground.leader.tick()
    assert ground.leader.tenure.epoch == 2


async def test_plan_is_dropped_when_the_world_has_moved_on() -> None:
    ground = Ground()
    ground.start()

    ground.world.strikes["routing.readings"] = ground.touch
    await ground.leader.tick()
    assert ground.store.rollout is not None
    assert ground.store.rollout.state is State.PENDING


async def test_no_step_is_taken_without_redis() -> None:
    ground = Ground()
    await ground.leader.tick()
    ground.start()
    ground.redis.down = True
    with pytest.raises(BusUnavailable):
        await ground.leader.tick()
    assert ground.store.rollout is not None
    assert ground.store.rollout.state is State.PENDING


async def test_emptied_redis_is_seeded_again() -> None:
    ground = Ground()
    ground.store.table = Table(3)
    await ground.leader.tick()
    ground.redis.empty()
    await ground.leader.tick()
    assert await ground.leader.routing.published() == Published(1, 3)


async def test_edge_is_followed_closely_at_first_and_then_patiently() -> None:
    ground = Ground()
    ground.edge.stuck = True
    ground.store.table = Table(3)
    waits = []
    for _ in range(SOON_LOOKS + 2):
        await ground.leader.tenure.renew()
        waits.append(await ground.leader.tick())
    assert waits[0] == waits[SOON_LOOKS - 1] == SOON_S
    assert waits[SOON_LOOKS] == LOOK_S


def with_member(ground: Ground) -> Table:
    table = Table(3, frozenset({Member("host-a", 1, "host-a:1")}))
    ground.store.table = table
    return table


async def test_edge_that_missed_a_change_is_woken_and_the_blocker_names_the_cause() -> None:
    ground = Ground()
    ground.edge.deaf = True
    ground.routing.lacks = "Redis does not tell edges of changed keys."
    ground.start(State.PROGRESSING)
    with_member(ground)
    await ground.ticks(until=lambda: ground.blocker() == "edge_unconfirmed")
    assert ground.store.rollout is not None
    assert ground.store.rollout.blocker is not None
    assert ground.store.rollout.blocker.sentence.endswith(ground.routing.lacks)
    assert ground.edge.table is None
    await ground.ticks(until=lambda: ground.edge.table == ground.store.table)
    assert ground.world.now - 100.0 < 3.0


async def test_lost_edge_is_remembered_for_the_next_leader_and_for_operators() -> None:
    ground = Ground()
    ground.edge.down = True
    await ground.ticks(until=lambda: bool(ground.store.lost_edges))
    assert ground.store.lost_edges == {EDGE}
    assert ground.world.now - 100.0 > Policy().edge_silence_s
    ground.edge.down = False
    await ground.ticks(until=lambda: not ground.store.lost_edges)
    told = [message for kind, message in ground.store.events if kind == "edge"]
    assert [EDGE in message for message in told] == [True, True]


async def test_new_leader_counts_anew_for_how_long_an_edge_has_not_confirmed() -> None:
    ground = Ground()
    ground.edge.down = True
    await ground.ticks(until=lambda: ground.world.now > 110.0)
    ground.world.now += STEP_DOWN_S + 10.0
    await ground.ticks(until=lambda: ground.leader.tenure.epoch == 2)
    await ground.leader.tick()
    assert ground.store.lost_edges == frozenset()


async def test_plan_that_breaks_an_invariant_is_not_carried_out() -> None:
    ground = Ground()
    ground.start()
    await ground.leader.tick()
    seen = ground.store.snapshot()
    bad = Plan((StopInstance("host-a", 1),), State.PROGRESSING, "bad")
    with pytest.raises(BrokenInvariant, match="I3"):
        await ground.leader._record(seen, fleet(*full()), bad, Changes())


async def failing(leader: Leader) -> None:
    """One tick of a leader whose step does not succeed, and the moment that its loop waits."""
    with pytest.raises((BrokenInvariant, StoreUnavailable, TruthWentBack)):
        await leader.tick()


async def test_leader_that_loses_only_postgresql_lets_another_lead_and_says_why() -> None:
    ground = Ground()
    first, second = ground.leader, ground.candidate("b")
    await first.tick()
    ground.store.down = True
    for _ in range(FAILURES):
        await failing(first)
    assert await first.tick() == FOLLOW_S
    ground.store.down = False
    assert await first.tick() == FOLLOW_S
    await second.tick()
    assert (first.tenure.epoch, second.tenure.epoch) == (None, 2)
    reason = await second.tenure.lease.reason()
    assert reason is not None
    assert (reason.holder, reason.code) == ("a", "store_unavailable")


async def test_leader_whose_plan_is_refused_again_and_again_gives_up() -> None:
    ground = Ground()
    ground.start()
    await ground.leader.tick()
    ground.store.commits = _refuse
    for _ in range(FAILURES):
        await failing(ground.leader)
    assert ground.leader.tenure.epoch is None
    reason = await ground.leader.tenure.lease.reason()
    assert reason is not None
    assert reason.code == "broken_invariant"


async def test_outdated_looks_are_repeated_at_once_only_the_first_time() -> None:
    ground = Ground()
    ground.start()
    ground.world.strikes["routing.readings"] = ground.touch
    waits = [await ground.leader.tick() for _ in range(4)]
    assert waits[0] == AT_ONCE_S
    assert waits[1:] == sorted(waits[1:])
    assert waits[1] > AT_ONCE_S


async def test_nothing_is_published_while_redis_knows_a_later_table() -> None:
    ground = Ground()
    ground.store.table = Table(7)
    await ground.leader.tick()
    ground.store.table = Table(6)
    await failing(ground.leader)
    assert await ground.leader.routing.published() == Published(1, 7)
    reason = await ground.leader.tenure.lease.reason()
    assert reason is not None
    assert reason.code == "truth_went_back"


async def test_epoch_is_not_raised_while_redis_knows_a_later_one() -> None:
    ground = Ground()
    ground.store.issued = 5
    await ground.leader.tick()
    await ground.leader.tenure.step_down()
    ground.store.issued = 4
    for _ in range(3):
        await failing(ground.leader)
    assert ground.store.issued == 4


async def test_epoch_is_not_raised_while_an_agent_has_obeyed_a_later_one() -> None:
    ground = Ground()
    await ground.store.report(HostReport("host-a", epoch=9, desired_version=1))
    await failing(ground.leader)
    assert ground.store.issued == 0


async def test_idle_leader_notices_that_its_epoch_is_not_the_one_issued_last() -> None:
    ground = Ground()
    ground.store.issued = 4
    await ground.leader.tick()
    ground.store.issued = 3
    ground.world.now += 6.0
    ground.leader.tenure.completed()
    ground.leader.tenure.renewed_at = ground.world.now
    assert await ground.leader.tick() == FOLLOW_S
    assert ground.leader.tenure.epoch is None


async def test_deadline_is_moved_by_the_time_in_which_nobody_led() -> None:
    ground = Ground()
    ground.start()
    await ground.leader.tick()
    led_at, before = ground.store.led_at, ground.store.rollout
    ground.world.now = led_at + 900.0
    await ground.leader.tick()
    after = ground.store.rollout
    assert before is not None
    assert after is not None
    assert after.state is not State.FAILED
    assert any(kind == "credit" for kind, _ in ground.store.events)


def _refuse(*_: object) -> None:
    raise BrokenInvariant("The plan would break I0.")


def test_without_a_rollout_the_fleet_is_only_tended() -> None:
    ground = Ground()
    assert decide(ground.store.snapshot(), fleet(*full())).actions == ()
