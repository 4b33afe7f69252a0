"""Deciding the next step of a rollout. Pure: the same look and time give the same plan."""

from __future__ import annotations

from controlplane.domain import gates
from controlplane.domain.actions import (
    Action,
    CountAsCaughtUp,
    DropImage,
    KeepImage,
    Plan,
    PullImage,
    ReplaceAgent,
    RunChecks,
    RunMigration,
)
from controlplane.domain.fleet import Fleet
from controlplane.domain.gates import Failure, Wait
from controlplane.domain.goals import Goal, Job
from controlplane.domain.model import Kind, OnFailure, Policy, Release, Rollout, State
from controlplane.domain.strategies.rolling import (
    converge,
    converged,
    evacuate,
    holds,
    per_host_of,
    readmit,
    tend,
)

BAKING = "baking"


def plan(rollout: Rollout, fleet: Fleet, policy: Policy, now: float) -> Plan:
    """The next step of an active rollout; `now` is database time in seconds."""
    if now >= rollout.deadline_at:
        return _expired(rollout, fleet, now)
    match rollout.state:
        case State.PENDING:
            return Plan((), State.PREFLIGHT, "The rollout begins with its checks.")
        case State.PREFLIGHT:
            return _preflight(rollout, fleet, now)
        case State.AWAITING_APPROVAL:
            return _awaiting_approval(rollout, fleet, now)
        case State.MIGRATING:
            return _migrating(rollout, fleet, now)
        case State.PROGRESSING:
            return _progressing(rollout, fleet, policy, now)
        case State.VERIFYING:
            return _verifying(rollout, fleet, policy, now)
        case State.PAUSED:
            return _paused(rollout, fleet, now)
        case State.ROLLING_BACK:
            return _rolling_back(rollout, fleet, policy, now)
        case _:
            return Plan((), rollout.state, "The rollout is over.")


def settle(fleet: Fleet) -> tuple[Action, ...]:
    """What is done while a rollout stands still: withdraw what is gone, readmit what came back."""
    return (*tend(fleet), *readmit(fleet))


def keep(fleet: Fleet, current: Release | None, policy: Policy) -> tuple[Action, ...]:
    """What is done while no rollout is active: settle, empty drained hosts, let others catch up."""
    actions = None if current is None else _catch_up(fleet, current, policy)
    return (*settle(fleet), *evacuate(fleet, policy)) if actions is None else actions


def _catch_up(fleet: Fleet, current: Release, policy: Policy) -> tuple[Action, ...] | None:
    """Bring hosts that were away to what all others run; None while those do not."""
    back = {h.name: h for h in fleet.hosts if h.behind and not h.silent and not h.drained}
    others = [i for i in fleet.instances if i.host not in back and not i.silent]
    if not back or any(i.spec != current.spec or i.goal is not Goal.RUN for i in others):
        return None
    if fetch := tuple(
        PullImage(h.name, current) for h in back.values() if current.digest not in h.wanted_images
    ):
        return fetch
    there = per_host_of(i for i in fleet.instances if i.spec == current.spec and i.available)
    alone = per_host_of(i for i in fleet.instances)
    done = tuple(
        CountAsCaughtUp(name)
        for name in back
        if there.get(name) == alone.get(name) == policy.instances_per_host
    )
    return (*converge(current, fleet, policy), *done)


def _preflight(rollout: Rollout, fleet: Fleet, now: float) -> Plan:
    fetch = tuple(
        PullImage(host.name, release)
        if release.digest == rollout.target.digest
        else KeepImage(host.name, release)
        for host in fleet.hosts
        for release in gates.missing_images(rollout, host)
    )
    if fetch:
        return Plan(fetch, State.PREFLIGHT, "Every host fetches the bytes before anything changes.")
    match gates.preflight(rollout, fleet):
        case Failure(sentence):
            return Plan((), State.FAILED, sentence, cause=sentence)
        case Wait() as wait:
            return _waiting(rollout, wait, now, actions=settle(fleet))
        case None:
            after = State.AWAITING_APPROVAL if rollout.policy.approval else State.MIGRATING
            return Plan((), after, "All checks before the change hold.")


def _awaiting_approval(rollout: Rollout, fleet: Fleet, now: float) -> Plan:
    if rollout.approved:
        return Plan((), State.MIGRATING, "The rollout was approved.")
    wait = Wait("needs_approval", "An operator must approve this rollout.", ("approve", "abort"))
    return _waiting(rollout, wait, now, actions=settle(fleet))


def _migrating(rollout: Rollout, fleet: Fleet, now: float) -> Plan:
    match gates.migration(rollout, fleet):
        case Failure(sentence):
            return Plan((), State.FAILED, sentence, cause=sentence)
        case Wait() as wait:
            return _waiting(rollout, wait, now, actions=settle(fleet))
        case Job() as job:
            return Plan((RunMigration(job),), State.MIGRATING, f"{job.host} runs the migration.")
        case None:
            return Plan((), State.PROGRESSING, "The schema is what the release needs.")


def _progressing(rollout: Rollout, fleet: Fleet, policy: Policy, now: float) -> Plan:
    if verdict := _judged(rollout, fleet, now):
        return verdict
    if converged(rollout.target, fleet, policy):
        return Plan((), State.VERIFYING, "Every slot runs the release; now it must hold.")
    return _moving(rollout, fleet, policy, now)


def _judged(rollout: Rollout, fleet: Fleet, now: float) -> Plan | None:
    """What follows from instances of the release that failed; None when nothing does."""
    match gates.readiness(rollout, fleet, now):
        case Failure(sentence):
            return _give_up(rollout, sentence)
        case Wait() as wait:
            return _waiting(rollout, wait, now, actions=settle(fleet))
        case None:
            return None


def _verifying(rollout: Rollout, fleet: Fleet, policy: Policy, now: float) -> Plan:
    if verdict := _judged(rollout, fleet, now):
        return verdict
    wait = Wait(BAKING, f"The release must hold for {policy.bake_s:g} s.", ("wait", "rollback"))
    until = gates.blocker(wait, rollout, now).since + policy.bake_s
    if converged(rollout.target, fleet, policy):
        if step := _checking(rollout, fleet, now):
            return step
        if now >= until or gates.agents_begun(rollout, fleet):
            return _agents(rollout, fleet, policy, now)
        return _waiting(rollout, wait, now, wake_at=until)
    step = _moving(rollout, fleet, policy, now)
    baking = rollout.blocker is not None and rollout.blocker.code == BAKING
    if step.actions or now >= until or not baking or not holds(rollout.target, fleet):
        return step
    # An edge or an agent that fails to answer once says nothing against the release: the bake
    # goes on. An instance that is not healthy begins it anew, by taking the blocker's place, and
    # so does an edge or an agent that outlasts it.
    return _waiting(rollout, wait, now, wake_at=until, progress=step.progress)


def _checking(rollout: Rollout, fleet: Fleet, now: float) -> Plan | None:
    """The service is used as a user would; None when that has been done."""
    match gates.checks(rollout, fleet):
        case Failure(sentence):
            return _give_up(rollout, sentence)
        case Wait() as wait:
            return _waiting(rollout, wait, now)
        case Job() as job:
            return Plan(
                (RunChecks(job),), State.VERIFYING, f"{job.host} uses the service as a user would."
            )
        case None:
            return None


def _agents(rollout: Rollout, fleet: Fleet, policy: Policy, now: float) -> Plan:
    """The last part: the service holds, so whatever becomes of the agents takes nothing back."""
    match gates.agents(rollout, fleet):
        case ReplaceAgent(host, release) as replace:
            reason = f"The service holds; the agent of {host} becomes that of {release.version}."
            return Plan((replace,), State.VERIFYING, reason)
        case Wait() as wait:
            digest = rollout.target.digest
            done = sum(h.agent is not None and h.agent.digest == digest for h in fleet.hosts)
            held = progress(rollout.target, fleet, policy)
            return _waiting(rollout, wait, now, progress=held + done)
        case Failure(sentence):
            return Plan((), State.PAUSED, sentence, cause=sentence)
        case None:
            return Plan(_drop(rollout, fleet), State.SUCCEEDED, "The release held on every slot.")


def _paused(rollout: Rollout, fleet: Fleet, now: float) -> Plan:
    sentence = f"The rollout is paused: {rollout.cause}." if rollout.cause else "Paused."
    wait = Wait("paused", sentence, ("resume", "rollback", "abort"))
    return _waiting(rollout, wait, now, actions=settle(fleet))


def _rolling_back(rollout: Rollout, fleet: Fleet, policy: Policy, now: float) -> Plan:
    assert rollout.source is not None
    if converged(rollout.source, fleet, policy):
        reason = f"Every slot runs {rollout.source.version} again."
        return Plan(_drop(rollout, fleet), State.ROLLED_BACK, reason)
    return _moving(rollout, fleet, policy, now)


def _moving(rollout: Rollout, fleet: Fleet, policy: Policy, now: float) -> Plan:
    """One step of replacing instances, or what it waits for."""
    release = rollout.destination
    if rollout.state is not State.ROLLING_BACK and (missing := gates.images(rollout, fleet)):
        # A host that was away during preflight is back: nothing is stopped before it has both.
        return _waiting(rollout, missing, now, actions=settle(fleet))
    actions = converge(release, fleet, policy)
    done = progress(release, fleet, policy)
    if actions:
        reason = f"{len(actions)} step(s) towards {release.version}."
        return Plan(actions, rollout.state, reason, progress=done)
    return _waiting(rollout, gates.convergence(release, fleet, policy), now, progress=done)


def progress(release: Release, fleet: Fleet, policy: Policy) -> int:
    """A count that grows while the fleet nears the release: slots held, and old ones gone."""
    spec, per_host = release.spec, policy.instances_per_host
    ours = [i for i in fleet.instances if i.spec == spec and not i.outdated]
    kept = [i for i in ours if i.goal is Goal.RUN]
    others = len(fleet.instances) - len(ours)
    held = sum(min(n, per_host) for n in per_host_of(kept).values())
    serving = sum(min(n, per_host) for n in per_host_of(i for i in kept if i.available).values())
    return serving + held + max(0, per_host * len(fleet.hosts) - others)


def _waiting(
    rollout: Rollout,
    wait: Wait,
    now: float,
    *,
    wake_at: float | None = None,
    progress: int = 0,
    actions: tuple[Action, ...] = (),
) -> Plan:
    held = gates.blocker(wait, rollout, now)
    wake = min(wake_at or rollout.deadline_at, rollout.deadline_at)
    return Plan(actions, rollout.state, wait.sentence, held, wake, progress)


def _give_up(rollout: Rollout, cause: str) -> Plan:
    """What the policy says about a release that does not hold.

    Never back to the spec that failed, and a rollback is not rolled back by itself.
    """
    source = rollout.source
    returnable = source is not None and source.spec != rollout.target.spec
    if rollout.policy.on_failure is OnFailure.PAUSE:
        return Plan((), State.PAUSED, cause, cause=cause)
    if returnable and rollout.kind is Kind.DEPLOY:
        return Plan((), State.ROLLING_BACK, cause, cause=cause)
    return Plan((), State.FAILED, cause, cause=cause)


def _expired(rollout: Rollout, fleet: Fleet, now: float) -> Plan:
    waited = rollout.blocker.told if rollout.blocker else "nothing moved."
    cause = f"The deadline for {rollout.state} passed: {waited}"
    match rollout.state:
        case State.VERIFYING if rollout.blocker and rollout.blocker.code == gates.AGENT_REPLACED:
            return Plan((), State.PAUSED, cause, cause=cause)
        case State.PROGRESSING | State.VERIFYING if gates.failed(rollout, fleet, now):
            # Fewer than may fail, or the old ones fail as well: nothing is taken back for that.
            return Plan((), State.PAUSED, cause, cause=cause)
        case State.PROGRESSING | State.VERIFYING:
            return _give_up(rollout, cause)
        case State.AWAITING_APPROVAL | State.PAUSED:
            return Plan((), State.ABORTED, cause, cause=cause)
        case _:
            return Plan((), State.FAILED, cause, cause=cause)


def _drop(rollout: Rollout, fleet: Fleet) -> tuple[Action, ...]:
    """Prune what neither the held release nor the one to return to needs."""
    if rollout.state is State.ROLLING_BACK:
        keep = {rollout.source.digest} if rollout.source else set()
        gone = {rollout.target.digest}
        return tuple(
            DropImage(h.name, d) for h in fleet.hosts for d in sorted(h.wanted_images & gone - keep)
        )
    keep = {r.digest for r in gates.needed_images(rollout)}
    return tuple(DropImage(h.name, d) for h in fleet.hosts for d in sorted(h.wanted_images - keep))
