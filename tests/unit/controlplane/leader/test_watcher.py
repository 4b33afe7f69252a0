"""The watcher's loop over fakes: who looks, what is started, and what a registry may do to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.domain.follow import StartMode
from controlplane.domain.model import Environment, Policy, Rollout
from controlplane.leader.tenure import STEP_DOWN_S, Tenure
from controlplane.leader.watcher import AGAIN, NEW, Watcher, due
from tests.fakes.bus import FakeBus
from tests.fakes.follows import FakeFollows
from tests.fakes.images import FakeImages
from tests.fakes.lease import FakeLease
from tests.fakes.redis import FakeRedis
from tests.fakes.store import FakeStore
from tests.fakes.world import StrikingWorld
from tests.follows import a_look, a_rule, a_tag, an_image
from tests.waiting import eventually


class Ground:
    """A leader of an environment that runs 1.0.0 and follows an empty repository."""

    def __init__(self, **rule: Any) -> None:
        self.world = StrikingWorld(now=100.0)
        self.images = FakeImages()
        self.follows = FakeFollows(self.world, a_look(rule=a_rule(**rule)))
        redis = FakeRedis(self.world)
        store = FakeStore(self.world, Environment("local", ("a",), ("http://e",), Policy()))
        lease = FakeLease(redis, "local")
        self.tenure = Tenure("test", lease, store, self.world, epoch=1, renewed_at=100.0)
        self.stopping = asyncio.Event()
        bus = FakeBus(redis)
        self.watcher = Watcher(self.tenure, self.follows, self.images.opened, bus, self.stopping)

    def publish(self, version: str, fill: str, **labels: str) -> None:
        self.images.publish(version, an_image(version, fill, **labels))

    async def look(self) -> list[str]:
        """One look when it is due; what it told."""
        before = len(self.follows.events)
        self.world.now += 30.0
        self.tenure.renewed_at = self.world.now
        await self.watcher.tick()
        return [kind for kind, _ in self.follows.events[before:]]

    @property
    def started(self) -> list[Rollout]:
        return list(self.follows.started.values())


async def test_new_image_is_known_and_its_rollout_waits_for_approval() -> None:
    ground = Ground()
    ground.publish("1.1.0", "a")
    assert await ground.look() == ["release"]
    (rollout,) = ground.started
    assert (rollout.target.version, rollout.created_by) == ("1.1.0", "watcher")
    assert rollout.policy.approval
    assert await ground.look() == []
    assert len(ground.started) == 1


async def test_rollout_starts_by_itself_when_the_rule_says_so() -> None:
    ground = Ground(start=StartMode.NOW)
    ground.publish("1.1.0", "a")
    await ground.look()
    assert not ground.started[0].policy.approval


async def test_rule_that_never_starts_only_makes_releases_known() -> None:
    ground = Ground(start=StartMode.NEVER)
    ground.publish("1.1.0", "a")
    await ground.look()
    assert (list(ground.follows.releases), ground.started) == (["1.1.0"], [])


async def test_next_version_waits_for_the_end_of_the_rollout() -> None:
    ground = Ground()
    ground.publish("1.1.0", "a")
    await ground.look()
    ground.publish("1.2.0", "b")
    assert await ground.look() == ["release"]
    assert len(ground.started) == 1
    ground.follows.end()
    await ground.look()
    assert [r.target.version for r in ground.started] == ["1.1.0", "1.2.0"]


async def test_moved_tag_is_reported_and_not_followed() -> None:
    ground = Ground()
    ground.publish("1.1.0", "a")
    await ground.look()
    ground.follows.end()
    ground.publish("1.1.0", "b")
    assert await ground.look() == ["tag_moved"]
    assert await ground.look() == []
    assert len(ground.started) == 1


async def test_image_whose_label_says_another_version_is_skipped_once() -> None:
    ground = Ground()
    ground.images.publish("1.1.0", an_image("1.0.9", "a"))
    assert await ground.look() == ["tag_skipped"]
    assert await ground.look() == []
    assert "label says version 1.0.9" in ground.follows.events[0][1]


async def test_image_without_labels_is_skipped_with_the_remedy() -> None:
    ground = Ground()
    ground.publish("1.1.0", "a", **{"camp.schema.head": ""})
    assert await ground.look() == ["tag_skipped"]
    assert "containers/build.sh" in ground.follows.events[0][1]


async def test_registry_that_is_down_is_remembered_and_forgotten_when_it_is_back() -> None:
    ground = Ground()
    ground.images.down = True
    assert await ground.look() == []
    assert ground.follows.seen is not None
    assert "cannot be reached" in ground.follows.seen.followed.error
    ground.images.down = False
    await ground.look()
    assert ground.follows.seen.followed.error == ""


async def test_only_the_leader_asks_the_registry() -> None:
    ground = Ground()
    ground.world.now += STEP_DOWN_S + 1
    await ground.watcher.tick()
    assert ground.images.asked == []


async def test_next_look_waits_for_its_interval() -> None:
    ground = Ground()
    await ground.look()
    ground.world.now += 1.0
    ground.tenure.renewed_at = ground.world.now
    await ground.watcher.tick()
    assert ground.images.asked == ["tags"]


@pytest.mark.parametrize("point", ["follows.record", "follows.start"])
async def test_outdated_leader_has_no_effect(point: str) -> None:
    ground = Ground()
    ground.publish("1.1.0", "a")

    def overtaken() -> None:
        ground.follows.issued = 2

    ground.world.strikes[point] = overtaken
    await ground.look()
    assert ground.started == []


async def test_rule_that_changes_under_a_look_is_not_written_over() -> None:
    ground = Ground()
    ground.publish("1.1.0", "a")
    never = a_rule(start=StartMode.NEVER)
    ground.world.strikes["follows.record"] = lambda: ground.follows.follow(never)
    await ground.look()
    assert (ground.follows.releases, ground.started) == ({}, [])


async def test_process_that_stops_does_not_wait_for_a_registry() -> None:
    ground = Ground()
    ground.images.hangs = True
    looking = asyncio.create_task(ground.watcher.tick())
    assert await eventually(lambda: ground.images.asked)
    ground.stopping.set()
    async with asyncio.timeout(2):
        await looking
    assert ground.follows.seen == a_look()


async def test_registry_that_hangs_is_given_up_with_a_sentence() -> None:
    ground = Ground()
    ground.watcher.survey_s = 0.05
    ground.images.hangs = True
    await ground.look()
    assert ground.follows.seen is not None
    assert "took longer" in ground.follows.seen.followed.error


def test_one_look_asks_for_the_highest_and_for_some_of_the_rest_in_turn() -> None:
    new = {f"1.{n}.0": "" for n in range(100, 60, -1)}
    old = {f"1.{n}.0": a_tag(f"1.{n}.0", checked_at=float(n)) for n in range(60, 0, -1)}
    asked = due({**new, **dict.fromkeys(old, "")}, old)
    assert asked[:NEW] == [f"1.{n}.0" for n in range(100, 100 - NEW, -1)]
    assert asked[NEW:] == ["1.60.0", *(f"1.{n}.0" for n in range(1, AGAIN))]
