"""The sweeper: only while it leads, soon again while there is more."""

from __future__ import annotations

from controlplane.domain.model import Environment, Policy
from controlplane.domain.records import SWEPT_ROWS
from controlplane.leader.sweeper import SOON_S, SWEEP_S, Sweeper
from controlplane.leader.tenure import Tenure
from tests.fakes.lease import FakeLease
from tests.fakes.redis import FakeRedis
from tests.fakes.store import FakeStore
from tests.fakes.world import World


class Counting(FakeStore):
    """Has so many rows to forget, and counts who asks."""

    left = 0
    asked = 0

    async def sweep(self, epoch: int, holder: str) -> int:
        await super().sweep(epoch, holder)
        self.asked += 1
        swept = min(self.left, SWEPT_ROWS)
        self.left -= swept
        return swept


class Ground:
    def __init__(self) -> None:
        self.world = World(now=100.0)
        self.store = Counting(self.world, Environment("local", ("a",), ("http://e",), Policy()))
        lease = FakeLease(FakeRedis(self.world), "local")
        self.tenure = Tenure("a", lease, self.store, self.world)
        self.sweeper = Sweeper(self.tenure, self.store)


async def test_who_does_not_lead_sweeps_nothing() -> None:
    ground = Ground()
    assert await ground.sweeper.tick() == SOON_S
    assert ground.store.asked == 0


async def test_leader_goes_on_soon_while_there_is_more() -> None:
    ground = Ground()
    ground.store.left = SWEPT_ROWS + 1
    assert await ground.tenure.campaign()
    assert [await ground.sweeper.tick() for _ in range(3)] == [SOON_S, SWEEP_S, SWEEP_S]


async def test_outdated_leader_leaves_it_to_the_next() -> None:
    ground = Ground()
    assert await ground.tenure.campaign()
    assert await ground.store.claim_epoch("b", 1)
    assert await ground.sweeper.tick() == SWEEP_S
    assert ground.store.asked == 0
