"""The critical path and the lifetimes it is measured from."""

from __future__ import annotations

import pytest

from controlplane.demo.measure.critical import critical_path, schedule
from controlplane.demo.measure.lifetimes import Lifetime, lifetimes
from controlplane.demo.measure.sampler import Process, Sample, Seen
from controlplane.domain.model import Kind, Policy, Release, State
from controlplane.wire import EventView, RolloutView

POLICY = Policy(max_surge=1, min_healthy_s=1.0, bake_s=2.0, start_deadline_s=20.0)


def process(pid: int, began_at: float = 0.0, instance: str = "") -> Process:
    return Process(pid, instance or f"host-a/{pid}", f"127.0.0.1:{pid}", began_at, began_at)


def seen(pid: int, *, ready: bool = True, idle: bool = False) -> Seen:
    return Seen(process(pid), ready, "1.0.0", idle)


def sample(at: float, table: set[int], *instances: Seen) -> Sample:
    return Sample(at, frozenset(f"127.0.0.1:{pid}" for pid in table), instances)


def release(version: str) -> Release:
    return Release(version, f"sha256:{version}", "", "", "", "", "")


def event(at: float, message: str, kind: str = "action") -> EventView:
    return EventView(id=1, environment="local", rollout="r", kind=kind, message=message, at=at)


def rollout(state: State = State.SUCCEEDED) -> RolloutView:
    return RolloutView(
        id="r",
        environment="local",
        kind=Kind.DEPLOY,
        state=state,
        active=False,
        target=release("1.1.0"),
        source=release("1.0.0"),
        policy=POLICY,
        version=1,
        progress=0,
        created_at=100.0,
        state_since=120.0,
        deadline_at=0.0,
        created_by="",
        reason="",
        cause="",
        approved=False,
        paused_from=None,
        blocker=None,
        allowed=(),
    )


def test_ready_counts_only_what_the_edge_uses() -> None:
    look = sample(1.0, {1, 2}, seen(1), seen(2, ready=False), seen(3))
    assert (look.ready, look.total) == (1, 3)


def test_life_is_told_by_what_was_first_seen() -> None:
    [life] = lifetimes(
        [
            sample(1.0, set(), seen(1, ready=False)),
            sample(2.0, set(), seen(1)),
            sample(3.0, {1}, seen(1)),
            sample(4.0, set(), seen(1)),
            sample(5.0, set(), seen(1, ready=False, idle=True)),
            sample(6.0, set()),
        ]
    )
    told = (life.ready_at, life.listed_at, life.unlisted_at, life.idle_at, life.gone_at)
    assert told == (2.0, 3.0, 4.0, 5.0, 6.0)


def test_chains_fill_the_lane_that_is_free_first() -> None:
    assert schedule([3.0, 1.0, 1.0, 4.0], lanes=2) == 6.0
    assert schedule([1.0, 2.0], lanes=1) == 3.0
    assert schedule([], lanes=3) == 0.0


def test_each_link_of_a_replacement_is_measured() -> None:
    new = Lifetime(process(2, 101.0), ready_at=103.0, listed_at=104.5)
    old = Lifetime(process(1), unlisted_at=105.2, idle_at=109.2, gone_at=110.0)
    events = [
        event(100.5, "host-a migrates with 1.1.0"),
        event(100.9, "migrating → progressing: The schema is there.", "state"),
        event(104.2, "admit host-a/2"),
        event(105.0, "withdraw host-a/1"),
        event(109.5, "stop host-a/1"),
    ]
    path = critical_path(rollout(), events, [old, new], hosts=3)
    expected = {"start": 2, "settle": 1, "admit": 0.3, "withdraw": 0.2, "drain": 4, "stop": 0.5}
    assert path.links == pytest.approx(expected)
    assert path.parts == pytest.approx({"migration": 0.4, "replacement": 8.0, "bake": 2.0})
    assert path.ratio == pytest.approx(20.0 / 10.4)
    assert path.waits["idle → stop ordered"] == pytest.approx(0.3)


def test_release_that_never_gets_ready_costs_its_start_deadline() -> None:
    new = Lifetime(process(2, 101.0), gone_at=122.5)
    path = critical_path(
        rollout(State.ROLLED_BACK), [event(122.0, "stop host-a/2")], [new], hosts=3
    )
    assert path.total_s == pytest.approx(20.5)
