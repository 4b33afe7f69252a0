"""Being the leader: the key first, then the epoch, and not a moment too long."""

from __future__ import annotations

import pytest

from controlplane.domain.errors import StoreUnavailable
from controlplane.domain.model import Environment, Policy
from controlplane.leader.tenure import ABSTAIN_S, PROOF_S, STEP_DOWN_S, TTL_S, Tenure
from tests.fakes.lease import FakeLease
from tests.fakes.redis import FakeRedis
from tests.fakes.store import FakeStore
from tests.fakes.world import StrikingWorld


class Ground:
    def __init__(self) -> None:
        self.world = StrikingWorld()
        self.redis = FakeRedis(self.world)
        self.lease = FakeLease(self.redis, "test")
        self.store = FakeStore(self.world, Environment("test", (), (), Policy()))

    def candidate(self, name: str) -> Tenure:
        return Tenure(name, self.lease, self.store, self.world)


async def test_only_one_of_two_candidates_wins() -> None:
    ground = Ground()
    first, second = ground.candidate("a"), ground.candidate("b")
    assert await first.campaign()
    assert not await second.campaign()
    assert (first.safe_epoch(), second.safe_epoch()) == (1, None)


async def test_each_tenure_has_a_higher_epoch() -> None:
    ground = Ground()
    first = ground.candidate("a")
    await first.campaign()
    await first.step_down()
    second = ground.candidate("b")
    assert await second.campaign()
    assert second.epoch == 2


async def test_leader_that_could_not_renew_stops_itself_before_its_key_expires() -> None:
    ground = Ground()
    leader = ground.candidate("a")
    await leader.campaign()
    ground.redis.down = True
    ground.world.now = STEP_DOWN_S
    await leader.renew()
    assert leader.safe_epoch() == 1
    ground.world.now = STEP_DOWN_S + 0.1
    assert leader.safe_epoch() is None
    assert STEP_DOWN_S < TTL_S


async def test_leader_that_completes_its_steps_stays() -> None:
    ground = Ground()
    leader = ground.candidate("a")
    await leader.campaign()
    for second in range(1, 11):
        ground.world.now = float(second)
        leader.completed()
        await leader.renew()
    assert leader.safe_epoch() == 1
    assert await ground.lease.holder() == ("a", 1)


async def test_leader_that_completes_no_step_loses_its_key_to_another() -> None:
    ground = Ground()
    leader, other = ground.candidate("a"), ground.candidate("b")
    await leader.campaign()
    for second in range(1, round(PROOF_S + TTL_S) + 2):
        ground.world.now = float(second)
        await leader.renew()
    assert leader.safe_epoch() is None
    assert await other.campaign()


async def test_who_gave_up_leaves_the_lead_to_others_for_a_while() -> None:
    ground = Ground()
    leader, other = ground.candidate("a"), ground.candidate("b")
    await leader.campaign()
    await leader.abstain()
    assert not await leader.campaign()
    assert await other.campaign()
    await other.step_down()
    ground.world.now = ABSTAIN_S
    assert await leader.campaign()


async def test_lost_key_ends_the_tenure() -> None:
    ground = Ground()
    leader = ground.candidate("a")
    await leader.campaign()
    ground.redis.empty()
    await leader.renew()
    assert leader.safe_epoch() is None


async def test_candidate_that_was_overtaken_gives_the_key_back() -> None:
    ground = Ground()
    ground.world.strikes["store.claim_epoch"] = lambda: setattr(ground.store, "issued", 1)
    assert not await ground.candidate("a").campaign()
    assert await ground.lease.holder() is None


async def test_database_outage_in_a_campaign_frees_the_key() -> None:
    ground = Ground()
    ground.store.down = True
    candidate = ground.candidate("a")
    with pytest.raises(StoreUnavailable):
        await candidate.campaign()
    assert await ground.lease.holder() is None


async def test_resigning_survives_an_unreachable_redis() -> None:
    ground = Ground()
    leader = ground.candidate("a")
    await leader.campaign()
    ground.redis.down = True
    await leader.step_down()
    assert leader.epoch is None
