"""The safety properties, by name. The executor asserts them before it acts; tests and the
simulator check them after every step. Each predicate is true while the property holds.

I9 (a crash between two effects is harmless) is a property of whole runs: the simulator kills
leaders between any two effects and expects all others to hold.
"""

from __future__ import annotations

from collections.abc import Iterable

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
from controlplane.domain.bounds import limits_of
from controlplane.domain.fleet import Fleet, Instance
from controlplane.domain.gates import needed_images
from controlplane.domain.goals import Goal
from controlplane.domain.model import TERMINAL, Kind, Policy, Rollout, State
from controlplane.domain.reports import Phase
from controlplane.domain.routing import Member
from controlplane.domain.strategies.rolling import converged


def i1_capacity(policy: Policy, fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """Admitted and ready instances never fall below min_available by our own action."""
    leaving = sum(i.available for i in _withdrawn(fleet, actions))
    if not leaving:
        return True
    limits = limits_of(policy, fleet)
    return fleet.confirmed and fleet.available - leaving >= limits.min_available


def i2_surge(policy: Policy, fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """Instances never exceed desired + surge."""
    starts = sum(isinstance(a, StartInstance) for a in actions)
    if not starts:
        return True
    limits = limits_of(policy, fleet)
    return len(fleet.instances) + starts <= limits.max_total


def i3_drained_before_stop(fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """Nothing is drained or stopped before every edge confirmed its withdrawal, and nothing that
    was ever admitted is stopped before its streams ended or the drain deadline passed."""
    return all(
        fleet.confirmed and i.member is None and (isinstance(a, DrainInstance) or _quiet(i))
        for a, i in _on(fleet, actions, StopInstance, DrainInstance)
    )


def i4_ready_before_admission(fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """Nothing is admitted that has not reported healthy with the intended spec."""
    return all(
        i is not None and i.phase is Phase.HEALTHY and i.goal is Goal.RUN and i.address == m.address
        for m in _members(actions, AdmitInstances)
        for i in [_find(fleet, m.host, m.slot)]
    )


def i5_not_outdated(seen: int, epoch: int) -> bool:
    """Only the highest epoch has effect."""
    return epoch >= seen


def i6_expand_first(rollout: Rollout, fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """Expand runs in its own state, before any instance of the new release; nothing starts on a
    schema that lacks what its release carries, or that has taken away what it needs."""
    migrates = any(isinstance(a, RunMigration) for a in actions)
    starts = [a.release for a in actions if isinstance(a, StartInstance)]
    return (
        (not migrates or rollout.state is State.MIGRATING)
        and not (migrates and starts)
        and all(r.schema_head in fleet.schema - fleet.retired for r in starts)
    )


def i7_never_mute(rollout: Rollout, plan: Plan) -> bool:
    """Every non-terminal state has a deadline, and a blocker, an action, or a next state."""
    moves = plan.actions or plan.blocker or plan.state != rollout.state
    return plan.state in TERMINAL or (bool(moves) and rollout.deadline_at > rollout.state_since)


def i8_success_is_proven(rollout: Rollout, fleet: Fleet, plan: Plan) -> bool:
    """`succeeded` needs the intended spec on every slot; `rolled_back` is never a success."""
    if plan.state is State.SUCCEEDED:
        return rollout.state is State.VERIFYING and converged(rollout.target, fleet, rollout.policy)
    if plan.state is State.ROLLED_BACK:
        return rollout.source is not None and converged(rollout.source, fleet, rollout.policy)
    return True


def i10_no_pointless_rollback(rollout: Rollout, plan: Plan) -> bool:
    """Never back to the spec that failed; never roll back a rollback by itself."""
    if plan.state is not State.ROLLING_BACK or rollout.state is State.ROLLING_BACK:
        return True
    source = rollout.source
    return source is not None and source.spec != rollout.target.spec and rollout.kind is Kind.DEPLOY


def i11_silence_is_not_absence(fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """Losing an agent takes no instance out of service."""
    leaving = {m.host for m in _members(actions, WithdrawInstances)}
    return not any(h.silent and h.name in leaving for h in fleet.hosts)


def i13_way_back_is_kept(rollout: Rollout, fleet: Fleet, actions: tuple[Action, ...]) -> bool:
    """The images of both releases are on every host that speaks before the first stop.

    On the way back itself only the source matters, and what lacks it there starts nothing.
    """
    stops = any(i.admitted_once for _, i in _on(fleet, actions, StopInstance))
    return (
        rollout.state is State.ROLLING_BACK
        or not stops
        or all(
            r.digest in h.images and r.digest in h.wanted_images
            for h in fleet.hosts
            if not h.silent
            for r in needed_images(rollout)
        )
    )


def i14_one_active(rollouts: Iterable[Rollout]) -> bool:
    """One active rollout per environment."""
    active = [r.environment for r in rollouts if r.active]
    return len(active) == len(set(active))


def broken(rollout: Rollout | None, policy: Policy, fleet: Fleet, plan: Plan) -> tuple[str, ...]:
    """The names of the properties that carrying out this plan would break, rollout or not."""
    always = {
        "I1": i1_capacity(policy, fleet, plan.actions),
        "I2": i2_surge(policy, fleet, plan.actions),
        "I3": i3_drained_before_stop(fleet, plan.actions),
        "I4": i4_ready_before_admission(fleet, plan.actions),
        "I11": i11_silence_is_not_absence(fleet, plan.actions),
    }
    held = always if rollout is None else always | _of_rollout(rollout, fleet, plan)
    return tuple(name for name, holds in held.items() if not holds)


def _of_rollout(rollout: Rollout, fleet: Fleet, plan: Plan) -> dict[str, bool]:
    return {
        "I6": i6_expand_first(rollout, fleet, plan.actions),
        "I7": i7_never_mute(rollout, plan),
        "I8": i8_success_is_proven(rollout, fleet, plan),
        "I10": i10_no_pointless_rollback(rollout, plan),
        "I13": i13_way_back_is_kept(rollout, fleet, plan.actions),
    }


def _find(fleet: Fleet, host: str, slot: int) -> Instance | None:
    return next((i for i in fleet.instances if (i.host, i.slot) == (host, slot)), None)


def _members(
    actions: tuple[Action, ...], kind: type[AdmitInstances | WithdrawInstances]
) -> list[Member]:
    return [m for a in actions if isinstance(a, kind) for m in a.members]


def _withdrawn(fleet: Fleet, actions: tuple[Action, ...]) -> list[Instance]:
    found = (_find(fleet, m.host, m.slot) for m in _members(actions, WithdrawInstances))
    return [i for i in found if i is not None]


def _on(
    fleet: Fleet, actions: tuple[Action, ...], *kinds: type[StopInstance | DrainInstance]
) -> list[tuple[Action, Instance]]:
    acting = [a for a in actions if isinstance(a, kinds)]
    return [(a, i) for a in acting if (i := _find(fleet, a.host, a.slot)) is not None]


def _quiet(instance: Instance) -> bool:
    gone = instance.phase in (None, Phase.EXITED)
    return instance.drained or gone or not instance.admitted_once
