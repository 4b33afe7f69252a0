"""The planner: one step at a time, always with a reason, never back to what failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.actions import (
    AdmitInstances,
    CountAsCaughtUp,
    DropImage,
    KeepImage,
    PullImage,
    RunMigration,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.changes import changes
from controlplane.domain.fleet import Fleet
from controlplane.domain.goals import Goal, Job, JobState
from controlplane.domain.model import Environment, Kind, OnFailure, Policy, State
from controlplane.domain.planner import keep, plan, progress, settle
from controlplane.domain.records import Snapshot
from controlplane.domain.reports import ImageReport, Phase
from controlplane.domain.strategies.rolling import converge
from tests.build import NEW, OLD, UNCONFIRMED, fleet, full, instance, rollout, starting


def test_pending_begins_with_preflight() -> None:
    begun = rollout(State.PENDING)
    assert plan(begun, fleet(*full()), begun.policy, 1.0).state is State.PREFLIGHT


def test_preflight_fetches_the_target_and_keeps_the_way_back_on_every_host() -> None:
    bare = fleet(*full())
    hosts = tuple(replace(h, wanted_images=frozenset()) for h in bare.hosts)
    checking = rollout(State.PREFLIGHT)
    actions = plan(checking, replace(bare, hosts=hosts), checking.policy, 1.0).actions
    assert PullImage("host-b", NEW) in actions
    assert KeepImage("host-b", OLD) in actions
    assert len(actions) == 6


def test_preflight_waits_for_bytes_with_a_blocker() -> None:
    look = fleet(*full())
    hosts = tuple(replace(h, images=frozenset({OLD.digest})) for h in look.hosts)
    checking = rollout(State.PREFLIGHT)
    step = plan(checking, replace(look, hosts=hosts), checking.policy, 1.0)
    assert step.state is State.PREFLIGHT
    assert step.blocker is not None
    assert step.blocker.code == "image_missing"


def test_damaged_bundle_fails_in_preflight_with_nothing_changed() -> None:
    look = fleet(*full())
    error = ImageReport(NEW.digest, present=False, error="digest differs", permanent=True)
    hosts = (replace(look.hosts[0], image_errors=(error,)), *look.hosts[1:])
    checking = rollout(State.PREFLIGHT)
    step = plan(checking, replace(look, hosts=hosts), checking.policy, 1.0)
    assert (step.state, step.actions) == (State.FAILED, ())
    assert "digest differs" in step.cause


def test_preflight_waits_for_edges_that_do_not_answer() -> None:
    checking = rollout(State.PREFLIGHT)
    step = plan(checking, fleet(*full(), unconfirmed=UNCONFIRMED), checking.policy, 1.0)
    assert step.blocker is not None
    assert step.blocker.code == "edge_unconfirmed"


def test_approval_is_asked_for_only_when_the_policy_wants_it() -> None:
    checking = rollout(State.PREFLIGHT, policy=Policy(approval=True))
    step = plan(checking, fleet(*full()), checking.policy, 1.0)
    assert step.state is State.AWAITING_APPROVAL
    waiting = rollout(State.AWAITING_APPROVAL, policy=Policy(approval=True))
    assert plan(waiting, fleet(*full()), waiting.policy, 1.0).blocker is not None
    approved = replace(waiting, approved=True)
    assert plan(approved, fleet(*full()), waiting.policy, 1.0).state is State.MIGRATING


def test_migration_runs_once_on_one_host_before_any_start() -> None:
    migrating = rollout(State.MIGRATING)
    old_schema = fleet(*full(), schema=frozenset({"0001"}))
    step = plan(migrating, old_schema, migrating.policy, 1.0)
    job = Job("r1/1", "host-a", NEW, ("migrate", "upgrade"))
    assert step.actions == (RunMigration(job),)
    under_way = replace(old_schema, jobs=(replace(job, state=JobState.RUNNING),))
    again = plan(migrating, under_way, migrating.policy, 1.0)
    assert again.actions == ()
    assert again.blocker is not None
    assert again.blocker.code == "migration_running"


def test_schema_that_is_there_already_needs_no_migration() -> None:
    migrating = rollout(State.MIGRATING)
    step = plan(migrating, fleet(*full()), migrating.policy, 1.0)
    assert (step.state, step.actions) == (State.PROGRESSING, ())


def test_failed_migration_fails_the_rollout_before_anything_started() -> None:
    migrating = rollout(State.MIGRATING)
    job = Job("r1/1", "host-a", NEW, ("migrate",), JobState.FAILED, "lock timeout")
    look = fleet(*full(), schema=frozenset({"0001"}), jobs=(job,))
    step = plan(migrating, look, migrating.policy, 1.0)
    assert step.state is State.FAILED
    assert "lock timeout" in step.cause


def test_migration_of_a_lost_host_is_repeated_elsewhere() -> None:
    migrating = rollout(State.MIGRATING)
    job = Job("r1/1", "host-a", NEW, ("migrate",), JobState.RUNNING)
    lost = [replace(i, silent=i.host == "host-a") for i in full()]
    look = fleet(*lost, schema=frozenset({"0001"}), jobs=(job,))
    step = plan(migrating, look, migrating.policy, 1.0)
    assert step.actions == (RunMigration(Job("r1/2", "host-b", NEW, ("migrate", "upgrade"))),)


FAILING = fleet(*full(), starting("host-a/3", phase=Phase.FAILED, detail="no model provider"))


def test_release_that_does_not_become_ready_is_rolled_back_by_itself() -> None:
    step = plan(rollout(), FAILING, Policy(), 1.0)
    assert step.state is State.ROLLING_BACK
    assert "no model provider" in step.cause


def test_policy_may_prefer_to_pause() -> None:
    pausing = rollout(policy=Policy(on_failure=OnFailure.PAUSE))
    assert plan(pausing, FAILING, pausing.policy, 1.0).state is State.PAUSED


def test_first_deploy_has_nothing_to_go_back_to() -> None:
    assert plan(rollout(source=None), FAILING, Policy(), 1.0).state is State.FAILED


def test_rollback_is_not_rolled_back_by_itself() -> None:
    assert plan(rollout(kind=Kind.ROLLBACK), FAILING, Policy(), 1.0).state is State.FAILED


def test_same_spec_is_no_way_back() -> None:
    assert plan(rollout(source=NEW), FAILING, Policy(), 1.0).state is State.FAILED


def test_instance_that_never_reports_is_overdue_after_its_deadline() -> None:
    mute = fleet(*full(), starting("host-a/3", phase=None))
    begun = rollout(policy=Policy(start_deadline_s=5.0, min_healthy_s=1.0))
    assert plan(begun, mute, begun.policy, 5.0).state is State.PROGRESSING
    assert plan(begun, mute, begun.policy, 7.0).state is State.ROLLING_BACK


def test_success_needs_the_bake_time_to_pass_on_every_slot() -> None:
    done = fleet(*full(NEW))
    baking = rollout(State.VERIFYING, policy=Policy(bake_s=5.0))
    assert plan(rollout(), done, baking.policy, 1.0).state is State.VERIFYING
    begun = plan(baking, done, baking.policy, 1.0)
    baking = replace(baking, blocker=begun.blocker)
    early = plan(baking, done, baking.policy, 5.0)
    assert (early.state, early.wake_at) == (State.VERIFYING, 6.0)
    assert plan(baking, done, baking.policy, 6.0).state is State.SUCCEEDED


def test_bake_begins_anew_when_an_instance_was_not_healthy() -> None:
    baking = rollout(State.VERIFYING, policy=Policy(bake_s=5.0))
    begun = plan(baking, fleet(*full(NEW)), baking.policy, 0.0)
    flapped = fleet(*full(NEW)[1:], instance("host-a/1", NEW, phase=Phase.UNREADY))
    baking = replace(baking, blocker=begun.blocker)
    baking = replace(baking, blocker=plan(baking, flapped, baking.policy, 4.0).blocker)
    again = plan(baking, fleet(*full(NEW)), baking.policy, 6.0)
    assert (again.state, again.wake_at) == (State.VERIFYING, 11.0)


def test_edge_that_fails_to_answer_once_does_not_begin_the_bake_anew() -> None:
    baking = rollout(State.VERIFYING, policy=Policy(bake_s=5.0))
    begun = plan(baking, fleet(*full(NEW)), baking.policy, 0.0)
    baking = replace(baking, blocker=begun.blocker)
    muted = plan(baking, fleet(*full(NEW), unconfirmed=UNCONFIRMED), baking.policy, 4.0)
    assert muted.blocker == begun.blocker
    unproven = plan(baking, fleet(*full(NEW), unconfirmed=UNCONFIRMED), baking.policy, 5.0)
    assert unproven.state is State.VERIFYING


def test_bytes_that_nobody_needs_are_let_go_at_the_end() -> None:
    look = fleet(*full(NEW))
    wanted = look.hosts[0].wanted_images | {"sha256:ancient"}
    hosts = (replace(look.hosts[0], wanted_images=wanted), *look.hosts[1:])
    baking = rollout(State.VERIFYING, policy=Policy(bake_s=0.0))
    step = plan(baking, replace(look, hosts=hosts), baking.policy, 1.0)
    assert step.actions == (DropImage("host-a", "sha256:ancient"),)


def test_rolled_back_only_when_every_slot_runs_the_source_again() -> None:
    back = rollout(State.ROLLING_BACK)
    mixed = fleet(*full(), instance("host-a/3", NEW))
    assert plan(back, mixed, back.policy, 1.0).state is State.ROLLING_BACK
    assert plan(back, fleet(*full()), back.policy, 1.0).state is State.ROLLED_BACK


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (State.PREFLIGHT, State.FAILED),
        (State.AWAITING_APPROVAL, State.ABORTED),
        (State.MIGRATING, State.FAILED),
        (State.PROGRESSING, State.ROLLING_BACK),
        (State.VERIFYING, State.ROLLING_BACK),
        (State.PAUSED, State.ABORTED),
        (State.ROLLING_BACK, State.FAILED),
    ],
)
def test_every_state_ends_at_its_deadline(state: State, end: State) -> None:
    waiting = rollout(state)
    step = plan(waiting, fleet(*full()), waiting.policy, waiting.deadline_at)
    assert step.state is end
    assert str(state) in step.cause


def test_paused_rollout_still_takes_dead_addresses_out() -> None:
    look = fleet(instance("host-a/1", phase=Phase.EXITED), *full()[1:])
    step = plan(rollout(State.PAUSED), look, Policy(), 1.0)
    assert [type(a) for a in step.actions] == [WithdrawInstances]
    assert settle(look) == step.actions


def test_same_wait_keeps_its_since() -> None:
    look = fleet(*full(), starting("host-a/3"))
    first = plan(rollout(), look, Policy(), 1.0)
    later = plan(rollout(blocker=first.blocker), look, Policy(), 9.0)
    assert later.blocker is not None
    assert later.blocker.since == 1.0


def test_too_few_instances_are_named_as_the_blocker() -> None:
    silent = [replace(i, silent=i.host == "host-c") for i in full()]
    done_elsewhere = [replace(i, spec=NEW.spec) if not i.silent else i for i in silent]
    step = plan(rollout(), fleet(*done_elsewhere), Policy(), 1.0)
    assert step.blocker is not None
    assert step.blocker.code == "host_silent"
    assert "host-c" in step.blocker.sentence


def test_paused_rollout_readmits_an_instance_that_came_back() -> None:
    back = replace(instance("host-a/1"), address="host-a:7001")
    step = plan(rollout(State.PAUSED), fleet(back, *full()[1:]), Policy(), 1.0)
    assert isinstance(step.actions[-1], AdmitInstances)
    assert step.actions[-1].members[0].address == "host-a:7001"


def test_host_that_returns_without_the_way_back_holds_up_the_rollout() -> None:
    look = fleet(*full(), instance("host-a/3", NEW))
    bare = replace(look.hosts[2], images=frozenset({NEW.digest}))
    step = plan(rollout(), replace(look, hosts=(*look.hosts[:2], bare)), Policy(), 1.0)
    assert step.actions == ()
    assert step.blocker is not None
    assert step.blocker.code == "image_missing"


def test_way_back_does_not_wait_for_bytes_of_what_failed() -> None:
    look = fleet(*full(), starting("host-a/3"))
    bare = tuple(replace(h, images=frozenset({OLD.digest})) for h in look.hosts)
    step = plan(rollout(State.ROLLING_BACK), replace(look, hosts=bare), Policy(), 1.0)
    assert step.actions == (StopInstance("host-a", 3),)


def test_progress_counts_what_is_kept_what_serves_and_what_is_gone() -> None:
    assert progress(NEW, fleet(*full()), Policy()) == 0
    assert progress(NEW, fleet(*full(), starting("host-a/3")), Policy()) == 1
    assert progress(NEW, fleet(*full(), instance("host-a/3", NEW)), Policy()) == 2
    assert progress(NEW, fleet(*full(NEW)), Policy()) == 18


def away(look: Fleet, host: str = "host-c") -> Fleet:
    """The host has not been heard of for half a minute."""
    hosts = tuple(
        replace(h, silent=h.name == host, silent_s=30.0 * (h.name == host)) for h in look.hosts
    )
    here = tuple(replace(i, silent=i.host == host) for i in look.instances)
    return replace(look, hosts=hosts, instances=here)


def marked(look: Fleet, host: str, **marks: bool) -> Fleet:
    hosts = tuple(replace(h, **marks) if h.name == host else h for h in look.hosts)  # type: ignore[arg-type]  # flags only
    return replace(look, hosts=hosts)


def test_rollout_succeeds_without_a_host_that_the_policy_can_do_without() -> None:
    look = away(fleet(*full(NEW, "ab"), *full(OLD, "c")))
    generous = rollout(policy=Policy(max_unavailable=2, bake_s=0.0))
    assert plan(generous, look, generous.policy, 1.0).state is State.VERIFYING
    baked = rollout(State.VERIFYING, policy=generous.policy)
    assert plan(baked, look, baked.policy, 1.0).state is State.SUCCEEDED
    strict = rollout()
    assert plan(strict, look, strict.policy, 1.0).blocker is not None


def test_restart_does_not_do_without_a_host() -> None:
    stale = [replace(i, outdated=True) for i in full(NEW, "c")]
    look = away(fleet(*full(NEW, "ab"), *stale))
    generous = rollout(State.VERIFYING, policy=Policy(max_unavailable=2, bake_s=0.0))
    assert plan(generous, look, generous.policy, 1.0).state is State.VERIFYING


def test_host_that_was_away_is_noted_as_behind_and_nobody_else() -> None:
    look = away(fleet(*full(NEW, "ab"), *full(OLD, "c")))
    baked = rollout(State.VERIFYING, policy=Policy(max_unavailable=2, bake_s=0.0))
    seen = Snapshot(
        1.0, Environment("test", (), (), Policy()), baked, (), (), look.table, (), look.schema
    )
    step = changes(seen, look, plan(baked, look, baked.policy, 1.0))
    assert step is not None
    assert step.behind == (("host-c", True),)
    assert any("host-c is away" in message for _, message in step.events)


def test_host_that_returns_catches_up_by_itself() -> None:
    look = marked(fleet(*full(NEW, "ab"), *full(OLD, "c")), "host-c", behind=True)
    actions = keep(look, NEW, Policy(max_unavailable=1))
    assert {a.host for a in actions if isinstance(a, StartInstance)} <= {"host-c"}
    assert any(isinstance(a, StartInstance | WithdrawInstances) for a in actions)
    out = [*full(NEW), instance("host-c/3", OLD, admitted=False, admitted_once=True)]
    going = marked(fleet(*out, unconfirmed=UNCONFIRMED), "host-c", behind=True)
    assert keep(going, NEW, Policy()) == ()
    done = marked(fleet(*full(NEW)), "host-c", behind=True)
    assert keep(done, NEW, Policy()) == (CountAsCaughtUp("host-c"),)


def test_nothing_catches_up_while_the_others_run_something_else() -> None:
    look = marked(fleet(*full(NEW, "a"), *full(OLD, "bc")), "host-c", behind=True)
    assert keep(look, NEW, Policy()) == ()


def test_drained_host_is_emptied_and_gets_nothing_new() -> None:
    look = marked(fleet(*full()), "host-c", drained=True)
    (out,) = keep(look, OLD, Policy())
    assert isinstance(out, WithdrawInstances)
    assert {m.host for m in out.members} == {"host-c"}
    leaving = instance("host-c/1", admitted=False, admitted_once=True)
    going = marked(
        fleet(*full(OLD, "ab"), leaving, unconfirmed=UNCONFIRMED), "host-c", drained=True
    )
    assert keep(going, OLD, Policy()) == ()
    empty = marked(fleet(*full(OLD, "ab")), "host-c", drained=True)
    assert keep(empty, OLD, Policy()) == ()
    moving = rollout(policy=Policy(max_surge="100%"))
    starts = plan(moving, empty, moving.policy, 1.0).actions
    assert {a.host for a in starts if isinstance(a, StartInstance)} == {"host-a", "host-b"}


def test_what_an_aborted_rollout_left_elsewhere_does_not_hold_up_a_drain() -> None:
    left = instance("host-a/3", admitted=False, admitted_once=True, goal=Goal.DRAIN)
    look = marked(fleet(*full(), left), "host-c", drained=True)
    actions = keep(look, OLD, Policy(batch_size=1))
    assert any(isinstance(a, WithdrawInstances) for a in actions)


def test_drain_waits_for_capacity() -> None:
    down = [replace(i, phase=Phase.UNREADY) for i in full(OLD, "a")]
    look = marked(fleet(*down, *full(OLD, "bc")), "host-c", drained=True)
    assert not any(isinstance(a, WithdrawInstances) for a in keep(look, OLD, Policy()))


def test_failures_within_the_limit_pause_at_the_deadline_and_take_nothing_back() -> None:
    bad = [starting("host-b/3", phase=Phase.FAILED)]
    late = rollout(policy=Policy(max_failures=1), deadline_at=50.0)
    assert plan(late, fleet(*full(), *bad), late.policy, 50.0).state is State.PAUSED
    none = rollout(deadline_at=50.0)
    assert plan(none, fleet(*full()), none.policy, 50.0).state is State.ROLLING_BACK


def test_failed_instance_does_not_hold_up_the_others() -> None:
    policy = Policy(max_failures=1, max_surge=2, batch_size=1)
    look = fleet(*full(), starting("host-b/3", phase=Phase.FAILED))
    starts = converge(NEW, look, policy)
    assert any(isinstance(a, StartInstance) for a in starts)
