"""Why nothing can be done at this moment while instances are being replaced."""

from __future__ import annotations

from controlplane.domain.bounds import limits_of, quarantined
from controlplane.domain.fleet import Fleet, Instance
from controlplane.domain.gates.hosts import environments, unheard
from controlplane.domain.gates.routes import edges, reach
from controlplane.domain.gates.verdict import failures_allowed, told_failures
from controlplane.domain.gates.waits import Wait
from controlplane.domain.goals import Goal
from controlplane.domain.model import Policy, Release
from controlplane.domain.reports import Phase
from controlplane.domain.strategies.rolling import unproven


def convergence(release: Release, fleet: Fleet, policy: Policy) -> Wait:
    """Why nothing can be done at this moment while instances are being replaced."""
    if waits := edges(fleet) or reach(fleet):
        return waits
    moving = next((w for i in fleet.instances if not i.silent and (w := _moving(i, release))), None)
    if moving is not None:
        return moving
    ours = (i for i in fleet.instances if i.spec == release.spec and i.goal is Goal.RUN)
    if untried := unproven(ours):
        return Wait(
            "edge_checks",
            f"The edges have not checked {untried.name} yet, the first of {untried.host}.",
            ("wait", "pause", "abort"),
        )
    bad = [i for i in fleet.instances if i.spec == release.spec and i.phase is Phase.FAILED]
    if bad and not any(h.silent for h in fleet.hosts):
        may_fail = failures_allowed(policy, fleet)
        return Wait(
            "instance_failed",
            f"{told_failures(bad, may_fail, release)} Its agent goes on trying.",
            ("look at its log", "pause", "rollback", "abort"),
        )
    away = quarantined(policy, fleet)
    silent = [h for h in fleet.hosts if h.silent and h.name not in away]
    return unheard(silent) if silent else environments(fleet) or _capacity(fleet, policy)


def _moving(instance: Instance, release: Release) -> Wait | None:
    if instance.goal is Goal.STOP:
        return Wait("stopping", f"{instance.name} is stopping.", ("wait",))
    if instance.goal is Goal.DRAIN:
        return Wait("draining", f"{instance.name} lets its streams end.", ("wait",))
    if instance.spec != release.spec or instance.goal is not Goal.RUN or instance.available:
        return None
    if instance.phase is Phase.FAILED:
        return None
    if instance.phase is Phase.READY:
        return Wait("min_healthy", f"{instance.name} is ready and must stay so.", ("wait",))
    detail = f" ({instance.detail})" if instance.detail else ""
    return Wait(
        "starting", f"{instance.name} is not ready yet{detail}.", ("wait", "pause", "abort")
    )


def _capacity(fleet: Fleet, policy: Policy) -> Wait:
    """Nothing moves although nothing is under way: too few instances are available to go on."""
    limits = limits_of(policy, fleet)
    down = [i.name for i in fleet.instances if i.member and not i.available]
    who = f"; {', '.join(down)} not ready" if down else ""
    return Wait(
        "capacity",
        f"{fleet.available} instances are available, {limits.min_available} must remain{who}.",
        ("repair the instances that are not ready", "pause", "rollback", "abort"),
    )
