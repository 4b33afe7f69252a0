"""Each safety property, where it holds and where it is broken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.domain import invariants as must
from controlplane.domain.actions import (
    Action,
    AdmitInstances,
    DrainInstance,
    Plan,
    RunMigration,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.fleet import Instance
from controlplane.domain.goals import Goal, Job
from controlplane.domain.model import Blocker, Kind, Policy, State
from controlplane.domain.reports import Phase
from controlplane.domain.routing import Member
from tests.build import NEW, OLD, UNCONFIRMED, fleet, full, instance, rollout, starting


def withdraw(*leaving: Instance) -> tuple[WithdrawInstances, ...]:
    return (WithdrawInstances(tuple(i.member for i in leaving if i.member)),)


def test_i1_withdrawal_leaves_enough_available() -> None:
    seven = [*full(), instance("host-a/3", NEW)]
    assert must.i1_capacity(Policy(), fleet(*seven), withdraw(seven[0]))
    assert not must.i1_capacity(Policy(), fleet(*seven), withdraw(*seven[:2]))
    unsure = fleet(*seven, unconfirmed=UNCONFIRMED)
    assert not must.i1_capacity(Policy(), unsure, withdraw(seven[0]))


def test_i1_taking_out_what_serves_nobody_costs_nothing() -> None:
    down = instance("host-a/1", phase=Phase.EXITED)
    assert must.i1_capacity(Policy(), fleet(down, *full()[1:]), withdraw(down))


def test_i2_starts_stay_within_the_surge() -> None:
    starts = (StartInstance("host-a", 3, NEW),)
    assert must.i2_surge(Policy(), fleet(*full()), starts)
    assert not must.i2_surge(Policy(), fleet(*full(), starting("host-b/3")), starts)


def test_i3_stop_comes_after_the_drain_and_the_drain_after_the_edges() -> None:
    out = instance("host-a/1", admitted=False, admitted_once=True, goal=Goal.DRAIN)
    drain, stop = (DrainInstance("host-a", 1),), (StopInstance("host-a", 1),)
    assert must.i3_drained_before_stop(fleet(out), drain)
    assert not must.i3_drained_before_stop(fleet(out, unconfirmed=UNCONFIRMED), drain)
    assert not must.i3_drained_before_stop(fleet(out), stop)
    assert must.i3_drained_before_stop(fleet(replace(out, drained=True)), stop)
    assert not must.i3_drained_before_stop(fleet(instance("host-a/1", drained=True)), stop)


def test_i4_only_a_healthy_instance_at_its_address_is_admitted() -> None:
    admit = (AdmitInstances((Member("host-a", 3, "host-a:3"),)),)

    def holds(**stands: Any) -> bool:
        new = starting("host-a/3", **({"phase": Phase.HEALTHY} | stands))
        return must.i4_ready_before_admission(fleet(new), admit)

    assert holds()
    assert not holds(phase=Phase.READY)
    assert not holds(goal=Goal.DRAIN)
    assert not holds(address="host-a:9")
    assert not must.i4_ready_before_admission(fleet(), admit)


def test_i5_epochs_only_grow() -> None:
    assert must.i5_not_outdated(3, 3)
    assert must.i5_not_outdated(3, 4)
    assert not must.i5_not_outdated(3, 2)


def test_i6_migration_runs_in_its_own_state_beside_no_start() -> None:
    run = RunMigration(Job("r1/1", "host-a", NEW, ("migrate", "upgrade")))
    start = StartInstance("host-a", 3, NEW)
    migrating, look = rollout(State.MIGRATING), fleet()
    assert must.i6_expand_first(migrating, look, (run,))
    assert not must.i6_expand_first(migrating, look, (run, start))
    assert not must.i6_expand_first(rollout(), look, (run,))
    assert must.i6_expand_first(rollout(), look, (start,))


def test_i6_nothing_starts_on_a_schema_that_its_release_cannot_live_with() -> None:
    start = (StartInstance("host-a", 3, NEW),)
    assert not must.i6_expand_first(rollout(), fleet(schema=frozenset({"0001"})), start)
    assert not must.i6_expand_first(rollout(), fleet(retired=frozenset({"0002"})), start)


def test_i7_a_state_that_lasts_says_why() -> None:
    mute = Plan((), State.PROGRESSING, "")
    assert not must.i7_never_mute(rollout(), mute)
    assert must.i7_never_mute(rollout(), replace(mute, blocker=Blocker("starting", "…", 0.0)))
    assert must.i7_never_mute(rollout(), replace(mute, state=State.VERIFYING))
    endless = rollout(deadline_at=0.0)
    assert not must.i7_never_mute(endless, replace(mute, state=State.VERIFYING))


def test_i8_success_is_the_release_on_every_slot_after_verifying() -> None:
    done = Plan((), State.SUCCEEDED, "")
    verifying = rollout(State.VERIFYING)
    assert must.i8_success_is_proven(verifying, fleet(*full(NEW)), done)
    assert not must.i8_success_is_proven(verifying, fleet(*full(OLD)), done)
    assert not must.i8_success_is_proven(rollout(), fleet(*full(NEW)), done)
    back = Plan((), State.ROLLED_BACK, "")
    assert must.i8_success_is_proven(rollout(State.ROLLING_BACK), fleet(*full(OLD)), back)
    assert not must.i8_success_is_proven(rollout(State.ROLLING_BACK), fleet(*full(NEW)), back)


def test_i10_no_way_back_to_the_same_spec_nor_from_a_rollback() -> None:
    back = Plan((), State.ROLLING_BACK, "")
    assert must.i10_no_pointless_rollback(rollout(), back)
    assert not must.i10_no_pointless_rollback(rollout(source=NEW), back)
    assert not must.i10_no_pointless_rollback(rollout(source=None), back)
    assert not must.i10_no_pointless_rollback(rollout(kind=Kind.ROLLBACK), back)


def test_i11_silent_hosts_stay_in_service() -> None:
    silent = instance("host-a/1", silent=True)
    look = fleet(silent, *full()[1:])
    assert not must.i11_silence_is_not_absence(look, withdraw(silent))
    assert must.i11_silence_is_not_absence(look, withdraw(full()[3]))


def test_i13_first_stop_needs_both_releases_on_every_host() -> None:
    out = instance("host-a/1", admitted=False, admitted_once=True, goal=Goal.DRAIN, drained=True)
    look, stop = fleet(out, *full()[1:]), (StopInstance("host-a", 1),)
    bare = replace(look, hosts=(replace(look.hosts[0], images=frozenset()), *look.hosts[1:]))
    assert must.i13_way_back_is_kept(rollout(), look, stop)
    assert not must.i13_way_back_is_kept(rollout(), bare, stop)
    assert must.i13_way_back_is_kept(rollout(State.ROLLING_BACK), bare, stop)
    assert must.i13_way_back_is_kept(rollout(), bare, ())


def test_i14_one_active_rollout_an_environment() -> None:
    one, over = rollout(), rollout(State.SUCCEEDED)
    assert must.i14_one_active([one, over, rollout(environment="other")])
    assert not must.i14_one_active([one, one])


def test_broken_names_every_property_that_the_plan_would_break() -> None:
    bad: tuple[Action, ...] = (StopInstance("host-a", 1), *withdraw(*full()[2:]))
    names = must.broken(rollout(), Policy(), fleet(*full()), Plan(bad, State.SUCCEEDED, ""))
    assert names == ("I1", "I3", "I8")
