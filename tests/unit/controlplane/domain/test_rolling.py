"""Rolling: new before old, never below the minimum, never on an unconfirmed word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.domain.actions import (
    AdmitInstances,
    DrainInstance,
    FreeSlot,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.fleet import Host
from controlplane.domain.goals import Goal
from controlplane.domain.model import Policy
from controlplane.domain.reports import Phase
from controlplane.domain.strategies.rolling import converge, converged, panic, readmit, tend
from tests.build import NEW, OLD, UNCONFIRMED, fleet, full, instance, starting

ONE_MORE = Policy(max_surge=1, max_unavailable=0)
ONE_LESS = Policy(max_surge=0, max_unavailable=1)


def test_start_first_begins_with_a_new_instance_beside_the_old_ones() -> None:
    assert converge(NEW, fleet(*full()), ONE_MORE) == (StartInstance("host-a", 3, NEW),)


def test_surge_is_spread_over_the_hosts() -> None:
    starts = converge(NEW, fleet(*full()), replace(ONE_MORE, max_surge="50%"))
    assert [(a.host, a.slot) for a in starts if isinstance(a, StartInstance)] == [
        ("host-a", 3),
        ("host-b", 3),
        ("host-c", 3),
    ]


def test_nothing_more_starts_while_surge_is_used_up() -> None:
    assert converge(NEW, fleet(*full(), starting("host-a/3")), ONE_MORE) == ()


def test_healthy_new_instance_is_admitted() -> None:
    new = starting("host-a/3", phase=Phase.HEALTHY)
    (admit,) = converge(NEW, fleet(*full(), new), ONE_MORE)
    assert isinstance(admit, AdmitInstances)
    assert [m.slot for m in admit.members] == [3]


def test_ready_is_not_yet_healthy_enough_to_be_admitted() -> None:
    assert converge(NEW, fleet(*full(), starting("host-a/3", phase=Phase.READY)), ONE_MORE) == ()


def test_old_instance_stays_until_new_one_is_admitted() -> None:
    new = starting("host-a/3", phase=Phase.HEALTHY)
    actions = converge(NEW, fleet(*full(), new), ONE_MORE)
    assert not any(isinstance(a, WithdrawInstances) for a in actions)


def test_old_instance_of_the_fullest_host_leaves_first() -> None:
    (withdraw,) = converge(NEW, fleet(*full(), instance("host-b/3", NEW)), ONE_MORE)
    assert isinstance(withdraw, WithdrawInstances)
    assert [(m.host, m.slot) for m in withdraw.members] == [("host-b", 1)]


def test_nothing_is_decided_on_an_unconfirmed_table() -> None:
    look = fleet(*full(), instance("host-b/3", NEW), unconfirmed=UNCONFIRMED)
    assert converge(NEW, look, ONE_MORE) == ()


def test_what_is_healthy_is_admitted_whatever_the_edges_say() -> None:
    back = instance("host-a/1", admitted=False, admitted_once=True)
    unsure = fleet(back, *full()[1:], unconfirmed=UNCONFIRMED)
    (admit,) = readmit(unsure)
    assert isinstance(admit, AdmitInstances)
    assert [(m.host, m.slot) for m in admit.members] == [("host-a", 1)]
    new = starting("host-a/3", phase=Phase.HEALTHY)
    (step,) = converge(NEW, fleet(*full(), new, unconfirmed=UNCONFIRMED), ONE_MORE)
    assert isinstance(step, AdmitInstances)


def test_old_instance_that_was_withdrawn_waits_for_an_edge_that_lags() -> None:
    leaving = instance("host-a/1", admitted=False, admitted_once=True)
    others = [*full()[1:], instance("host-a/3", NEW)]
    assert converge(NEW, fleet(leaving, *others, unconfirmed=UNCONFIRMED), ONE_MORE) == ()


def test_old_instance_serves_on_while_a_lost_edge_holds_the_rollout() -> None:
    leaving = instance("host-a/1", admitted=False, admitted_once=True)
    others = [*full()[1:], instance("host-a/3", NEW)]
    held = fleet(leaving, *others, unconfirmed=UNCONFIRMED, lost=UNCONFIRMED)
    (admit,) = converge(NEW, held, ONE_MORE)
    assert isinstance(admit, AdmitInstances)
    assert [m.slot for m in admit.members] == [1]


def test_old_instance_stays_until_the_edges_have_tried_one_new_instance_of_the_host() -> None:
    new = replace(instance("host-b/3", NEW), untried=True)
    assert converge(NEW, fleet(*full(), new), ONE_MORE) == ()
    tried = fleet(*full(), replace(new, untried=False))
    assert isinstance(converge(NEW, tried, ONE_MORE)[0], WithdrawInstances)
    one_there = instance("host-b/4", NEW)
    wide = replace(ONE_MORE, max_surge=2)
    assert isinstance(converge(NEW, fleet(*full(), new, one_there), wide)[0], WithdrawInstances)


def test_instance_that_an_edge_cannot_reach_holds_what_comes_next() -> None:
    apart = replace(instance("host-b/3", NEW), unreached_by=("http://edge",))
    assert converge(NEW, fleet(*full(), apart), ONE_MORE) == ()
    assert not converged(NEW, fleet(*full(NEW)[1:], apart), ONE_MORE)


def test_withdrawn_instance_drains_then_stops_then_frees_its_slot() -> None:
    others = [*full()[1:], instance("host-a/3", NEW)]

    def step(**stands: Any) -> tuple[object, ...]:
        leaving = instance("host-a/1", admitted=False, admitted_once=True, **stands)
        return converge(NEW, fleet(leaving, *others), ONE_MORE)

    assert step() == (DrainInstance("host-a", 1),)
    assert step(goal=Goal.DRAIN) == ()
    assert step(goal=Goal.DRAIN, drained=True) == (StopInstance("host-a", 1),)
    assert step(goal=Goal.STOP, drained=True) == ()
    assert FreeSlot("host-a", 1) in step(goal=Goal.STOP, phase=None)


def test_slot_is_not_freed_on_a_report_about_older_goals() -> None:
    gone = instance("host-a/1", admitted=False, goal=Goal.STOP, phase=None)
    look = fleet(gone, *full()[1:])
    unsettled = tuple(replace(h, settled=False) for h in look.hosts)
    actions = converge(OLD, replace(look, hosts=unsettled), ONE_MORE)
    assert FreeSlot("host-a", 1) not in actions
    assert FreeSlot("host-a", 1) in converge(OLD, look, ONE_MORE)


def test_stop_first_withdraws_before_it_starts() -> None:
    (withdraw,) = converge(NEW, fleet(*full()), ONE_LESS)
    assert isinstance(withdraw, WithdrawInstances)


def test_instances_already_down_use_up_max_unavailable() -> None:
    down = [instance("host-a/1", phase=Phase.UNREADY), *full()[1:]]
    withdrawn = [
        m
        for a in converge(NEW, fleet(*down), ONE_LESS)
        if isinstance(a, WithdrawInstances)
        for m in a.members
    ]
    assert [(m.host, m.slot) for m in withdrawn] == [("host-a", 1)]


def test_silent_host_counts_as_down_and_is_left_alone() -> None:
    silent = [instance(f"host-a/{n}", silent=True) for n in (1, 2)]
    assert converge(NEW, fleet(*silent, *full(hosts="bc")), ONE_LESS) == ()


def test_batch_limits_how_many_change_at_once() -> None:
    policy = Policy(max_surge="100%", max_unavailable=0, batch_size=2)
    assert len(converge(NEW, fleet(*full()), policy)) == 2
    assert converge(NEW, fleet(*full(), starting("host-a/3"), starting("host-b/3")), policy) == ()


def test_host_without_the_bytes_starts_nothing() -> None:
    look = fleet(*full(hosts="ab"), hosts="ab")
    bare = Host("host-a", 0.0, silent=False, settled=True)
    (start,) = converge(NEW, replace(look, hosts=(bare, look.hosts[1])), ONE_MORE)
    assert isinstance(start, StartInstance)
    assert start.host == "host-b"


def test_never_admitted_instance_stops_without_a_drain() -> None:
    actions = converge(OLD, fleet(*full(), starting("host-a/3")), ONE_MORE)
    assert actions == (StopInstance("host-a", 3),)


def test_instance_without_a_goal_is_drained_not_ignored() -> None:
    stray = instance("host-a/9", NEW, admitted=False, admitted_once=True, goal=None)
    assert converge(OLD, fleet(*full(), stray), ONE_MORE) == (DrainInstance("host-a", 9),)


def test_address_behind_which_nothing_listens_is_withdrawn() -> None:
    dead = instance("host-a/1", phase=Phase.EXITED)
    (withdraw,) = tend(fleet(dead, *full()[1:]))
    assert withdraw == WithdrawInstances((dead.member,) if dead.member else ())


def test_silence_is_not_absence() -> None:
    assert tend(fleet(instance("host-a/1", phase=Phase.EXITED, silent=True))) == ()


def test_restarted_instance_is_admitted_at_its_new_address() -> None:
    moved = replace(instance("host-a/1"), address="host-a:7001")
    (admit,) = tend(fleet(moved, *full()[1:]))
    assert isinstance(admit, AdmitInstances)
    assert admit.members[0].address == "host-a:7001"


def test_unready_majority_is_not_the_releases_fault() -> None:
    unready = [instance(f"host-{c}/{n}", phase=Phase.FAILED) for c in "abc" for n in (1, 2)]
    assert panic(fleet(*unready))
    actions = converge(NEW, fleet(*unready), ONE_MORE)
    assert not any(isinstance(a, WithdrawInstances) for a in actions)


def test_converged_needs_every_slot_admitted_healthy_and_nothing_else() -> None:
    assert converged(NEW, fleet(*full(NEW)), ONE_MORE)
    assert not converged(NEW, fleet(*full(NEW), instance("host-a/3", OLD)), ONE_MORE)
    assert not converged(NEW, fleet(*full(NEW)[1:]), ONE_MORE)
    assert not converged(NEW, fleet(*full(NEW), unconfirmed=UNCONFIRMED), ONE_MORE)
    almost = [*full(NEW)[1:], instance("host-a/1", NEW, phase=Phase.READY)]
    assert not converged(NEW, fleet(*almost), ONE_MORE)


def test_address_that_a_restarted_instance_has_left_is_withdrawn() -> None:
    moved = replace(instance("host-a/1", phase=Phase.READY), address="host-a:7001")
    assert tend(fleet(moved, *full()[1:])) == (WithdrawInstances((moved.member,)),)  # type: ignore[arg-type]  # it has one


def test_instance_that_died_too_often_leaves_the_table() -> None:
    dead = replace(instance("host-a/1", phase=Phase.FAILED), address="")
    assert isinstance(tend(fleet(dead, *full()[1:]))[0], WithdrawInstances)


def test_release_that_broke_everywhere_is_replaced_once_another_one_shows_to_work() -> None:
    broken = [instance(f"host-{c}/{n}", NEW, phase=Phase.FAILED) for c in "abc" for n in (1, 2)]
    assert converge(OLD, fleet(*broken), ONE_MORE) == (StartInstance("host-a", 3, OLD),)
    actions = converge(OLD, fleet(*broken, instance("host-a/3", OLD)), ONE_MORE)
    assert any(isinstance(a, WithdrawInstances) for a in actions)


def test_without_room_one_broken_instance_makes_room_for_the_proof() -> None:
    broken = [instance(f"host-{c}/{n}", NEW, phase=Phase.FAILED) for c in "abc" for n in (1, 2)]
    (withdraw,) = converge(OLD, fleet(*broken), ONE_LESS)
    assert isinstance(withdraw, WithdrawInstances)
    assert len(withdraw.members) == 1


def test_silent_instance_does_not_count_as_converged() -> None:
    silent = [replace(i, silent=i.host == "host-c") for i in full(NEW)]
    assert not converged(NEW, fleet(*silent), ONE_MORE)


def test_excess_instances_retire_when_fewer_are_wanted_on_each_host() -> None:
    fewer = replace(ONE_MORE, instances_per_host=1)
    (withdraw,) = converge(OLD, fleet(*full()), fewer)
    assert isinstance(withdraw, WithdrawInstances)
    assert [(m.host, m.slot) for m in withdraw.members] == [
        ("host-a", 2),
        ("host-b", 2),
        ("host-c", 2),
    ]


def test_added_host_is_filled_with_the_same_release() -> None:
    starts = converge(OLD, fleet(*full(hosts="ab"), hosts="abc"), ONE_MORE)
    assert starts == (StartInstance("host-c", 1, OLD), StartInstance("host-c", 2, OLD))
