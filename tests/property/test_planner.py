"""The planner over fleets that nobody would think of, and over interruptions of its own plans."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.actions import (
    Action,
    AdmitInstances,
    DrainInstance,
    FreeSlot,
    Plan,
    RunChecks,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.bounds import bounds
from controlplane.domain.fleet import Fleet, Instance
from controlplane.domain.goals import Goal, JobState
from controlplane.domain.invariants import broken
from controlplane.domain.model import TERMINAL, Kind, OnFailure, Policy, Rollout, State
from controlplane.domain.planner import keep, plan, settle
from controlplane.domain.reports import Phase
from controlplane.domain.routing import Table
from tests.build import NEW, OLD, UNCONFIRMED, fleet, instance, rollout

LIMITS: list[tuple[int | str, int | str]] = [
    (1, 0),
    (0, 1),
    (1, 1),
    (2, 0),
    ("50%", 0),
    (0, "34%"),
    ("100%", 0),
]
BATCHES: list[int | str] = [1, 2, "50%", "100%"]
MOVING = [s for s in State if s not in TERMINAL]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    surge, unavailable = draw(st.sampled_from(LIMITS))
    return Policy(
        instances_per_host=draw(st.integers(1, 3)),
        max_surge=surge,
        max_unavailable=unavailable,
        batch_size=draw(st.sampled_from(BATCHES)),
        on_failure=draw(st.sampled_from(OnFailure)),
        bake_s=draw(st.sampled_from([0.0, 5.0])),
        smoke_url=draw(st.sampled_from(["", "http://edge"])),
    )


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    state = draw(st.sampled_from(MOVING))
    source = OLD if state is State.ROLLING_BACK else draw(st.sampled_from([OLD, NEW, None]))
    return rollout(state, policy=draw(policies()), source=source, kind=draw(st.sampled_from(Kind)))


@st.composite
def any_instances(draw: st.DrawFn) -> list[Instance]:
    """Up to five slots a host in any condition, believable or not."""
    return [i for host in "abc" for i in draw(_slots(host))]


@st.composite
def _slots(draw: st.DrawFn, host: str) -> list[Instance]:
    silent = draw(st.booleans())
    return [
        instance(
            f"host-{host}/{slot}",
            draw(st.sampled_from([OLD, NEW])),
            admitted=draw(st.booleans()),
            admitted_once=draw(st.booleans()),
            goal=draw(st.sampled_from([*Goal, None])),
            phase=draw(st.sampled_from([*Phase, None])),
            drained=draw(st.booleans()),
            silent=silent,
        )
        for slot in range(1, draw(st.integers(0, 5)) + 1)
    ]


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    look = fleet(*draw(any_instances()), unconfirmed=draw(st.sampled_from([(), UNCONFIRMED])))
    kept = draw(st.sampled_from([frozenset({NEW.digest}), frozenset({OLD.digest, NEW.digest})]))
    hosts = tuple(
        replace(h, settled=draw(st.booleans()), images=kept, wanted_images=kept) for h in look.hosts
    )
    return replace(look, hosts=hosts)


@settings(max_examples=400, deadline=None)
@given(rollouts(), fleets(), st.floats(0.0, 100.0))
def test_no_fleet_makes_the_planner_break_an_invariant(
    moving: Rollout, look: Fleet, now: float
) -> None:
    step = plan(moving, look, moving.policy, now)
    assert broken(moving, moving.policy, look, step) == (), step


@settings(max_examples=100, deadline=None)
@given(rollouts(), fleets(), st.floats(0.0, 100.0))
def test_same_look_and_time_give_the_same_plan(moving: Rollout, look: Fleet, now: float) -> None:
    assert plan(moving, look, moving.policy, now) == plan(moving, look, moving.policy, now)


@settings(max_examples=100, deadline=None)
@given(fleets())
def test_tending_takes_out_only_what_serves_nobody(look: Fleet) -> None:
    withdrawn = {m for a in settle(look) if isinstance(a, WithdrawInstances) for m in a.members}
    assert not any(i.available for i in look.instances if i.member in withdrawn)


@settings(max_examples=400, deadline=None)
@given(policies(), fleets(), st.lists(st.sampled_from(["drained", "behind"]), max_size=3))
def test_no_fleet_is_kept_in_a_way_that_breaks_an_invariant(
    policy: Policy, look: Fleet, marks: list[str]
) -> None:
    marked = tuple(
        replace(h, drained=m == "drained", behind=m == "behind")
        for h, m in zip(look.hosts, marks, strict=False)
    )
    look = replace(look, hosts=(*marked, *look.hosts[len(marked) :]))
    step = Plan(keep(look, OLD, policy), State.SUCCEEDED, "")
    assert broken(None, policy, look, step) == (), step


@settings(max_examples=150, deadline=None)
@given(policies(), st.booleans(), st.lists(st.integers(0, 3), max_size=60))
def test_rollout_ends_although_every_plan_may_be_cut_short(
    policy: Policy, healthy: bool, cuts: list[int]
) -> None:
    """Apply k of n actions, look again, plan again: invariants hold and the rollout ends."""
    moving = rollout(State.PROGRESSING, policy=replace(policy, on_failure=OnFailure.ROLLBACK))
    look = _settled_fleet(policy)
    for turn in range(400):
        step = plan(moving, look, moving.policy, 1.0)
        assert broken(moving, moving.policy, look, step) == ()
        if step.state in TERMINAL:
            break
        if step.state is not moving.state:
            moving = rollout(step.state, policy=moving.policy)
        elif moving.state is State.VERIFYING and not step.actions:
            # The bake time passes.
            moving = replace(moving, blocker=step.blocker and replace(step.blocker, since=-5.0))
        kept = cuts[turn] if turn < len(cuts) else len(step.actions)
        look = _evolve(_apply(look, step.actions[:kept]), healthy)
        assert len(look.instances) <= bounds(policy, len(look.hosts)).max_total
    assert step.state is (State.SUCCEEDED if healthy else State.ROLLED_BACK)


def _settled_fleet(policy: Policy) -> Fleet:
    slots = range(1, policy.instances_per_host + 1)
    return fleet(*[instance(f"host-{h}/{n}") for h in "abc" for n in slots])


def _apply(look: Fleet, actions: tuple[Action, ...]) -> Fleet:
    """What the actions do to goals and table."""
    known = {(i.host, i.slot): i for i in look.instances}
    for action in actions:
        match action:
            case RunChecks(job):
                passed = replace(job, state=JobState.SUCCEEDED)
                look = replace(look, jobs=(*look.jobs, passed))
            case StartInstance(host, slot, release):
                new = instance(f"{host}/{slot}", release, admitted=False, phase=None)
                known[host, slot] = replace(new, since=1.0)
            case AdmitInstances(members):
                for m in members:
                    held = known[m.host, m.slot]
                    known[m.host, m.slot] = replace(held, member=m, admitted_once=True)
            case WithdrawInstances(members):
                for m in members:
                    known[m.host, m.slot] = replace(known[m.host, m.slot], member=None)
            case DrainInstance(host, slot):
                known[host, slot] = replace(known[host, slot], goal=Goal.DRAIN)
            case StopInstance(host, slot):
                known[host, slot] = replace(known[host, slot], goal=Goal.STOP)
            case FreeSlot(host, slot):
                del known[host, slot]
            case _:
                pass
    instances = tuple(known.values())
    table = Table(look.table.revision + 1, frozenset(i.member for i in instances if i.member))
    return replace(look, instances=instances, table=table)


NEXT = {None: Phase.STARTING, Phase.STARTING: Phase.READY, Phase.READY: Phase.HEALTHY}


def _evolve(look: Fleet, healthy: bool) -> Fleet:
    """What hosts do by themselves in the meantime; an unhealthy new release never gets ready."""

    def moved(i: Instance) -> Instance:
        if i.goal is Goal.STOP:
            return replace(i, phase=None)
        if i.goal is Goal.DRAIN:
            return replace(i, drained=True)
        if i.spec == NEW.spec and not healthy and i.phase is Phase.STARTING:
            return replace(i, phase=Phase.FAILED)
        return replace(i, phase=NEXT.get(i.phase, i.phase))

    return replace(look, instances=tuple(map(moved, look.instances)))
