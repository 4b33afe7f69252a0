"""Where an environment differs from what it should be, while no rollout is on its way."""

from __future__ import annotations

from collections import Counter

from controlplane.domain.fleet import Fleet, Host, Instance
from controlplane.domain.goals import Goal
from controlplane.domain.model import Environment, Release


def drift(environment: Environment, fleet: Fleet) -> tuple[str, ...]:
    """Each difference as a clause, most telling first; () also before the first release held."""
    if environment.current is None:
        return ()
    wanted = environment.policy.instances_per_host
    run = Counter(i.host for i in fleet.instances if i.goal is Goal.RUN)
    return (
        *(_quiet(host) for host in fleet.hosts if host.silent),
        *(
            f"{host.name} has {run[host.name]} of {wanted} instances"
            for host in fleet.hosts
            if run[host.name] != wanted and not host.drained
        ),
        *(clause for instance in fleet.instances if (clause := _of(instance, environment.current))),
    )


def _quiet(host: Host) -> str:
    return f"{host.name} is silent" + (f" ({host.runtime_error})" if host.runtime_error else "")


def _of(instance: Instance, current: Release) -> str:
    if instance.goal is None:
        return f"{instance.name} runs {instance.spec.version} without a goal"
    if instance.spec != current.spec:
        return f"{instance.name} runs {instance.spec.version}, not {current.version}"
    if instance.available or instance.silent:
        return ""
    detail = f": {instance.detail}" if instance.detail else ""
    return f"{instance.name} is {instance.phase or 'not reported'} and not available{detail}"
