"""Turning a plan into one transaction. It decides nothing: each action has one meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from controlplane.domain.actions import (
    Action,
    AdmitInstances,
    CountAsCaughtUp,
    DrainInstance,
    DropImage,
    FreeSlot,
    KeepImage,
    Plan,
    PullImage,
    ReplaceAgent,
    RunChecks,
    RunMigration,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.bounds import quarantined
from controlplane.domain.fleet import Fleet
from controlplane.domain.goals import AgentGoal, Goal, Job, SlotGoal
from controlplane.domain.model import (
    Blocker,
    Environment,
    Kind,
    Release,
    Rollout,
    State,
    deadline_s,
    enter,
    nameless,
)
from controlplane.domain.records import Changes, Snapshot
from controlplane.domain.routing import Member, Table

# Leaders note every few seconds that they lead; a longer gap was without one.
UNLED_S = 10.0


@dataclass(slots=True)
class _Draft:
    """The changes of one step while its actions are gone through."""

    seen: Snapshot
    goals: dict[tuple[str, int], SlotGoal]
    slots: dict[tuple[str, int], SlotGoal] = field(default_factory=dict)
    freed: list[tuple[str, int]] = field(default_factory=list)
    images: dict[str, tuple[Release, ...]] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    agents: dict[str, AgentGoal] = field(default_factory=dict)
    behind: dict[str, bool] = field(default_factory=dict)
    members: set[Member] | None = None
    events: list[tuple[str, str]] = field(default_factory=list)


def changes(seen: Snapshot, fleet: Fleet, plan: Plan) -> Changes | None:
    """Everything the plan writes; None when that is nothing."""
    draft = _draft(seen, fleet, plan.actions)
    before = seen.rollout
    after = None
    if before is not None:
        rested = credited(before, seen.led_at, seen.now)
        after = advance(rested, plan, seen.now)
        draft.events.extend(_news(before, after, plan))
        if rested is not before:
            rested_s = rested.deadline_at - before.deadline_at
            draft.events.append(("credit", f"nobody led for {rested_s:.0f} s; they do not count"))
        _left_behind(draft, after, fleet)
    detail = _detail(before, plan) if after == before else None
    lost = frozenset(reading.edge for reading in fleet.lost)
    draft.events.extend(_edge_news(seen, fleet))
    same = after == before and detail is None and lost == seen.lost_edges
    if not draft.events and same:
        return None
    return Changes(
        rollout=after if after != before else None,
        slots=tuple(draft.slots.values()),
        freed=tuple(draft.freed),
        images=tuple(draft.images.items()),
        jobs=tuple(draft.jobs),
        agents=tuple(draft.agents.items()),
        behind=tuple(draft.behind.items()),
        table=_table(seen.table, draft.members),
        events=tuple(draft.events),
        held=_held(seen.environment, after) if after is not None and before != after else None,
        detail=detail,
        moves=bool(plan.actions) or (before is not None and plan.state is not before.state),
        lost_edges=lost if lost != seen.lost_edges else None,
    )


def advance(rollout: Rollout, plan: Plan, now: float) -> Rollout:
    """The rollout after this step; a state's deadline moves only when more was reached."""
    if plan.state is not rollout.state:
        return enter(rollout, plan.state, now, plan.cause)
    if plan.progress > rollout.progress:
        deadline = now + deadline_s(rollout.policy, rollout.state)
        return replace(rollout, progress=plan.progress, deadline_at=deadline, blocker=plan.blocker)
    if _cause(plan.blocker) != _cause(rollout.blocker):
        return replace(rollout, blocker=plan.blocker)
    return rollout


def credited(rollout: Rollout, led_at: float, now: float) -> Rollout:
    """The rollout with time in which nobody led taken out: nothing could have moved in it."""
    since = max(led_at, rollout.state_since)
    if not led_at or now - since < UNLED_S:
        return rollout
    gap, held = now - since, rollout.blocker
    return replace(
        rollout,
        deadline_at=rollout.deadline_at + gap,
        blocker=replace(held, since=min(now, held.since + gap)) if held else None,
    )


def _left_behind(draft: _Draft, after: Rollout, fleet: Fleet) -> None:
    """When a release is reached, who was away is noted, and nobody else."""
    if after.state not in (State.SUCCEEDED, State.ROLLED_BACK):
        return
    away = quarantined(after.policy, fleet)
    for host in fleet.hosts:
        late = host.name in away and not host.drained
        if late != host.behind:
            draft.behind[host.name] = late
        if late:
            release = after.destination if after.state is State.SUCCEEDED else after.source
            version = release.version if release else ""
            message = f"{host.name} is away and stays behind; it gets {version} when it is back"
            draft.events.append(("host", message))


def _cause(blocker: Blocker | None) -> Blocker | None:
    return blocker and blocker.cause


def _detail(rollout: Rollout | None, plan: Plan) -> str | None:
    """How far the same blocker has come, if that is news: 20 MB of 166 are no event each."""
    if rollout is None or rollout.blocker is None or plan.blocker is None:
        return None
    return None if plan.blocker.detail == rollout.blocker.detail else plan.blocker.detail


def _held(environment: Environment, rollout: Rollout) -> tuple[Release, Release | None] | None:
    """A rollout that ends well changes what the environment holds and could return to."""
    if rollout.state is not State.SUCCEEDED:
        return None
    if rollout.source is None or rollout.source.spec == rollout.target.spec:
        return rollout.target, environment.previous
    return rollout.target, rollout.source if rollout.kind is Kind.DEPLOY else None


def _news(before: Rollout, after: Rollout, plan: Plan) -> list[tuple[str, str]]:
    if after.state is not before.state:
        return [("state", f"{before.state} → {after.state}: {plan.reason}")]
    if after.blocker is not None and after.blocker.cause != _cause(before.blocker):
        return [("blocker", after.blocker.sentence)]
    return []


def _edge_news(seen: Snapshot, fleet: Fleet) -> Iterator[tuple[str, str]]:
    for reading in fleet.lost:
        if reading.edge not in seen.lost_edges:
            waits = reading in fleet.unconfirmed
            does = "nothing is replaced before it does" if waits else "rollouts go on without it"
            yield "edge", f"edge {reading.edge} does not confirm the routing table; {does}"
    back = seen.lost_edges.difference(reading.edge for reading in fleet.lost)
    for edge in sorted(back.intersection(seen.environment.edges)):
        yield "edge", f"edge {edge} confirms the routing table again"


def _draft(seen: Snapshot, fleet: Fleet, actions: tuple[Action, ...]) -> _Draft:
    draft = _Draft(seen, {(g.host, g.slot): g for g in seen.slots} if actions else {})
    for instance in fleet.instances if actions else ():
        # What runs without a goal gets one before it is sent away, so that its host obeys.
        if instance.goal is None:
            key, release = (instance.host, instance.slot), nameless(instance.spec)
            draft.goals[key] = SlotGoal(*key, release, Goal.DRAIN, seen.now, True)
    for action in actions:
        _apply(draft, action)
    return draft


def _apply(draft: _Draft, action: Action) -> None:  # noqa: PLR0912 - one case an action
    match action:
        case PullImage(host, release):
            _hold(draft, host, release)
            draft.events.append(("action", f"{host} fetches {release.version}"))
        case KeepImage(host, release):
            _hold(draft, host, release)
            draft.events.append(("action", f"{host} keeps {release.version} for the way back"))
        case DropImage(host, digest):
            held = _images(draft, host)
            draft.images[host] = tuple(r for r in held if r.digest != digest)
            draft.events.append(("action", f"{host} may prune {digest[:19]}"))
        case RunMigration(job) | RunChecks(job):
            does = "migrates with" if isinstance(action, RunMigration) else "checks the service of"
            draft.jobs.append(job)
            draft.events.append(("action", f"{job.host} {does} {job.release.version}"))
        case StartInstance(host, slot, release):
            by = draft.seen.rollout.id if draft.seen.rollout else ""
            goal = SlotGoal(host, slot, release, Goal.RUN, draft.seen.now, rollout=by)
            draft.goals[host, slot] = draft.slots[host, slot] = goal
            draft.events.append(("action", f"start {release.version} as {host}/{slot}"))
        case AdmitInstances(members):
            _admit(draft, members)
        case WithdrawInstances(members):
            _current(draft).difference_update(members)
            draft.events.append(("action", f"withdraw {_names(members)}"))
        case DrainInstance(host, slot):
            _aim(draft, host, slot, Goal.DRAIN)
        case StopInstance(host, slot):
            _aim(draft, host, slot, Goal.STOP)
        case FreeSlot(host, slot):
            draft.freed.append((host, slot))
            draft.events.append(("action", f"{host}/{slot} is gone"))
        case ReplaceAgent(host, release):
            draft.agents[host] = AgentGoal(release, draft.seen.now)
            draft.events.append(("action", f"{host} replaces its agent by {release.version}'s"))
        case CountAsCaughtUp(host):
            draft.behind[host] = False
            draft.events.append(("host", f"{host} has caught up"))
        case _:
            assert_never(action)


def _images(draft: _Draft, host: str) -> tuple[Release, ...]:
    if host not in draft.images:
        draft.images[host] = next(r.images for r in draft.seen.hosts if r.name == host)
    return draft.images[host]


def _hold(draft: _Draft, host: str, release: Release) -> None:
    held = _images(draft, host)
    if all(r.digest != release.digest for r in held):
        draft.images[host] = (*held, release)


def _current(draft: _Draft) -> set[Member]:
    if draft.members is None:
        draft.members = set(draft.seen.table.members)
    return draft.members


def _admit(draft: _Draft, members: tuple[Member, ...]) -> None:
    """A member takes the place of its own former address."""
    current = _current(draft)
    places = {(m.host, m.slot) for m in members}
    current.difference_update([m for m in current if (m.host, m.slot) in places])
    current.update(members)
    for place in places:
        draft.slots[place] = replace(draft.goals[place], admitted_once=True)
    draft.events.append(("action", f"admit {_names(members)}"))


def _aim(draft: _Draft, host: str, slot: int, goal: Goal) -> None:
    aimed = replace(draft.goals[host, slot], goal=goal, since=draft.seen.now)
    draft.goals[host, slot] = draft.slots[host, slot] = aimed
    draft.events.append(("action", f"{goal} {host}/{slot}"))


def _table(table: Table, members: set[Member] | None) -> Table | None:
    if members is None or members == table.members:
        return None
    return Table(table.revision + 1, frozenset(members))


def _names(members: tuple[Member, ...]) -> str:
    return ", ".join(f"{m.host}/{m.slot}" for m in members)
