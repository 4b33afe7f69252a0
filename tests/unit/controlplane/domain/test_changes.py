"""The executor: each action has one meaning, and a plan becomes one step."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain.actions import (
    Action,
    AdmitInstances,
    DrainInstance,
    DropImage,
    FreeSlot,
    KeepImage,
    Plan,
    PullImage,
    RunChecks,
    RunMigration,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.changes import advance, changes
from controlplane.domain.fleet import Fleet
from controlplane.domain.goals import Goal, Job, SlotGoal
from controlplane.domain.model import Blocker, Environment, Kind, Policy, Rollout, State
from controlplane.domain.records import Changes, HostRow, Snapshot
from controlplane.domain.routing import EdgeReading, Member, Table
from tests.build import NEW, OLD, fleet, instance, rollout

MEMBER = Member("host-a", 1, "host-a:1")
GOAL = SlotGoal("host-a", 1, OLD, Goal.RUN, 0.0)


def seen(moving: Rollout | None = None, **env: object) -> Snapshot:
    environment = Environment("test", ("host-a",), ("http://e",), Policy())
    return Snapshot(
        now=9.0,
        environment=replace(environment, **env),  # type: ignore[arg-type]  # any field
        rollout=moving or rollout(),
        slots=(GOAL,),
        hosts=(HostRow("host-a", 1, (OLD,), None, 0, 9.0),),
        table=Table(4, frozenset({MEMBER})),
        jobs=(),
        schema=frozenset(),
    )


def done(*actions: Action, look: Fleet | None = None) -> Changes:
    step = changes(seen(), look or fleet(), Plan(actions, State.PROGRESSING, "step"))
    assert step is not None
    return step


def test_plan_without_effect_writes_nothing() -> None:
    assert changes(seen(), fleet(), Plan((), State.PROGRESSING, "wait")) is None


GONE = EdgeReading("http://e", None, "no answer", unconfirmed_s=20.0)


def test_lost_edge_is_remembered_and_told_once() -> None:
    wait = Plan((), State.PROGRESSING, "wait")
    step = changes(seen(), fleet(unconfirmed=(GONE,), lost=(GONE,)), wait)
    assert step is not None
    assert (step.lost_edges, step.moves) == (frozenset({"http://e"}), False)
    assert step.events == (
        (
            "edge",
            "edge http://e does not confirm the routing table; nothing is replaced before it does",
        ),
    )
    again = replace(seen(), lost_edges=frozenset({"http://e"}))
    assert changes(again, fleet(unconfirmed=(GONE,), lost=(GONE,)), wait) is None
    back = changes(again, fleet(), wait)
    assert back is not None
    assert back.lost_edges == frozenset()
    assert back.events == (("edge", "edge http://e confirms the routing table again"),)


def test_edge_that_is_done_without_is_named_in_an_event() -> None:
    step = changes(seen(), fleet(lost=(GONE,)), Plan((), State.PROGRESSING, "wait"))
    assert step is not None
    assert "http://e" in step.events[0][1]
    assert "go on without it" in step.events[0][1]


def test_images_are_added_and_dropped_for_the_whole_host() -> None:
    assert done(PullImage("host-a", NEW)).images == (("host-a", (OLD, NEW)),)
    assert done(KeepImage("host-a", OLD)).images == (("host-a", (OLD,)),)
    both = done(PullImage("host-a", NEW), DropImage("host-a", OLD.digest))
    assert both.images == (("host-a", (NEW,)),)


def test_migration_becomes_a_job() -> None:
    job = Job("r1/1", "host-a", NEW, ("migrate", "upgrade"))
    assert done(RunMigration(job)).jobs == (job,)


def test_checks_become_a_job() -> None:
    job = Job("r1/smoke-0-1", "host-a", NEW, ("smoke", "http://edge"))
    assert done(RunChecks(job)).jobs == (job,)


def test_goals_carry_the_database_time_of_the_step() -> None:
    assert done(StartInstance("host-a", 2, NEW)).slots == (
        SlotGoal("host-a", 2, NEW, Goal.RUN, 9.0, rollout=rollout().id),
    )
    assert done(DrainInstance("host-a", 1)).slots == (replace(GOAL, goal=Goal.DRAIN, since=9.0),)
    assert done(StopInstance("host-a", 1)).slots[0].goal is Goal.STOP
    assert done(FreeSlot("host-a", 1)).freed == (("host-a", 1),)


def test_new_table_has_the_next_revision() -> None:
    assert done(WithdrawInstances((MEMBER,))).table == Table(5)


def test_admitted_instance_takes_the_place_of_its_former_address() -> None:
    moved = replace(MEMBER, address="host-a:9")
    step = done(AdmitInstances((moved,)))
    assert step.table == Table(5, frozenset({moved}))
    assert step.slots == (replace(GOAL, admitted_once=True),)


def test_table_that_stays_the_same_keeps_its_revision() -> None:
    assert done(WithdrawInstances((MEMBER,)), AdmitInstances((MEMBER,))).table is None


def test_what_runs_without_a_goal_gets_one_before_it_is_sent_away() -> None:
    stray = instance("host-a/7", NEW, goal=None)
    (goal,) = done(DrainInstance("host-a", 7), look=fleet(stray)).slots
    assert (goal.goal, goal.release.spec, goal.admitted_once) == (Goal.DRAIN, NEW.spec, True)


def test_deadline_moves_only_when_more_was_reached() -> None:
    begun = rollout(progress=3)
    same = advance(begun, Plan((), State.PROGRESSING, "", progress=3), 50.0)
    more = advance(begun, Plan((), State.PROGRESSING, "", progress=4), 50.0)
    assert same.deadline_at == begun.deadline_at
    assert more.deadline_at == begun.deadline_at + 50.0


def test_new_blocker_is_told_once_and_is_no_move() -> None:
    waits = Plan((), State.PROGRESSING, "", Blocker("starting", "It starts.", 9.0))
    first = changes(seen(), fleet(), waits)
    assert first is not None
    assert (first.events, first.moves) == ((("blocker", "It starts."),), False)
    assert changes(seen(first.rollout), fleet(), waits) is None


def test_progress_of_a_wait_is_neither_a_version_nor_an_event() -> None:
    begun = Blocker("image_missing", "host-a is still fetching.", 9.0, (), "3 of 166 MB.")
    later = Plan((), State.PROGRESSING, "", replace(begun, detail="4 of 166 MB."))
    step = changes(seen(rollout(blocker=begun)), fleet(), later)
    assert step == Changes(detail="4 of 166 MB.", moves=False)
    assert changes(seen(rollout(blocker=later.blocker)), fleet(), later) is None


def test_progress_of_instances_tells_an_unchanged_blocker_no_second_time() -> None:
    begun = Blocker("image_missing", "host-a is still fetching.", 9.0, (), "3 of 166 MB.")
    later = replace(begun, detail="4 of 166 MB.")
    further = Plan((), State.PROGRESSING, "", later, progress=5)
    step = changes(seen(rollout(blocker=begun)), fleet(), further)
    assert step is not None
    assert (step.events, step.rollout and step.rollout.blocker) == ((), later)


def test_success_changes_what_the_environment_holds() -> None:
    success = Plan((), State.SUCCEEDED, "held")

    def held(moving: Rollout) -> object:
        step = changes(seen(moving, previous=OLD), fleet(), success)
        return step and step.held

    assert held(rollout(State.VERIFYING)) == (NEW, OLD)
    assert held(rollout(State.VERIFYING, kind=Kind.ROLLBACK)) == (NEW, None)
    assert held(rollout(State.VERIFYING, source=NEW)) == (NEW, OLD)


def test_rolled_back_changes_nothing_that_is_held() -> None:
    back = changes(seen(rollout(State.ROLLING_BACK)), fleet(), Plan((), State.ROLLED_BACK, ""))
    assert back is not None
    assert back.held is None
    assert back.moves
