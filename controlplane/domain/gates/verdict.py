"""What failed instances say about their release."""

from __future__ import annotations

from controlplane.domain.bounds import limits_of
from controlplane.domain.fleet import Fleet, Instance
from controlplane.domain.gates.waits import Failure, Wait
from controlplane.domain.goals import Goal
from controlplane.domain.model import Policy, Release, Rollout, count
from controlplane.domain.reports import SERVING, Phase

FAILING_ALIKE = "failing_alike"
RECOVERING = "recovering"


def readiness(rollout: Rollout, fleet: Fleet, now: float) -> Wait | Failure | None:
    """More instances of the target failed, or did not become ready in time, than may fail.

    No verdict while the old ones fail alike, nor right after: the cause is elsewhere, and what
    suffered from it needs its time to come back.
    """
    bad = failed(rollout, fleet, now)
    if not bad:
        return None
    held = rollout.blocker
    patience_s = rollout.policy.start_deadline_s + rollout.policy.min_healthy_s
    if _old_fail_alike(rollout, fleet):
        return Wait(
            FAILING_ALIKE,
            f"Instances of {rollout.target.version} are not ready, and neither are those that ran"
            " before: the cause is elsewhere, so the release is not judged.",
            ("look at what instances depend on", "pause", "rollback", "abort"),
        )
    recovering = held is not None and held.code == RECOVERING and now - held.since < patience_s
    if recovering or (held is not None and held.code == FAILING_ALIKE):
        return Wait(
            RECOVERING,
            f"What ran before serves again; instances of {rollout.target.version} have"
            f" {patience_s:g} s to do the same.",
            ("wait", "pause", "rollback", "abort"),
        )
    may_fail = failures_allowed(rollout.policy, fleet)
    if len(bad) <= may_fail:
        return None
    return Failure(told_failures(bad, may_fail, rollout.target))


def failed(rollout: Rollout, fleet: Fleet, now: float) -> list[Instance]:
    """Instances of the target that failed, or were never seen in time.

    Of what an agent reports it says itself when that took too long or ended too often: only the
    agent knows for how long it was away. What it does not report at all is timed here.
    """
    spec = rollout.target.spec
    patience_s = rollout.policy.start_deadline_s + rollout.policy.min_healthy_s

    def bad(instance: Instance) -> bool:
        phase = instance.phase
        if phase in SERVING or instance.goal is not Goal.RUN or instance.silent:
            return False
        if instance.outdated:
            return False  # it shall go, and says nothing about what comes in its place
        unseen = phase is None and not instance.admitted_once
        overdue = unseen and now - instance.since > patience_s
        return (overdue or phase is Phase.FAILED) and instance.spec == spec

    return [i for i in fleet.instances if bad(i)]


def failures_allowed(policy: Policy, fleet: Fleet) -> int:
    """How many instances may fail: "10%" of 6 is none, of 200 it is 20."""
    return count(policy.max_failures, limits_of(policy, fleet).desired, up=False)


def _old_fail_alike(rollout: Rollout, fleet: Fleet) -> bool:
    """At least half of what served before the rollout does not serve now."""
    old = [
        i
        for i in fleet.instances
        if i.spec != rollout.target.spec and i.goal is Goal.RUN and i.member and not i.silent
    ]
    return bool(old) and 2 * sum(i.phase not in SERVING for i in old) >= len(old)


def told_failures(bad: list[Instance], may_fail: int, release: Release) -> str:
    first = bad[0]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    allowed = f" ({may_fail} may fail)" if may_fail else ""
    detail = f": {first.detail.rstrip('.')}" if first.detail else "."
    return f"{release.version} did not become ready on {first.name}{more}{allowed}{detail}"
