"""Rolling: replace instances a few at a time, new before old, never below the minimum.

One instance: start → healthy → admitted → every edge confirmed → an old one withdrawn → every
edge confirmed → drained → stopped → its slot freed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from controlplane.domain.actions import (
    Action,
    AdmitInstances,
    DrainInstance,
    FreeSlot,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.fleet import (
    NOT_SERVING,
    Bounds,
    Fleet,
    Goal,
    Host,
    Instance,
    Member,
    Phase,
    bounds,
)
from controlplane.domain.model import Policy, Release, Spec


def converge(release: Release, fleet: Fleet, policy: Policy) -> tuple[Action, ...]:
    """The next steps that bring the fleet to `release`; none while something must be awaited."""
    limits = bounds(policy, len(fleet.hosts))
    wanted = keepers(release.spec, fleet.instances, policy.instances_per_host)
    unwanted = [i for i in fleet.instances if i not in wanted and not i.silent]
    actions: list[Action] = [*tend(fleet), *_leave(unwanted, fleet)]
    if not fleet.confirmed:
        return tuple(actions)
    admitted = [i for i in wanted if admissible(i)]
    if admitted:
        actions.append(AdmitInstances(tuple(sorted(map(_member, admitted)))))
    budget = limits.batch - changing(fleet.instances, wanted)
    withdrawn = _withdrawals(unwanted, fleet, limits, budget)
    if withdrawn:
        actions.append(WithdrawInstances(tuple(sorted(i.member for i in withdrawn if i.member))))
    room = min(budget - len(withdrawn), limits.max_total - len(fleet.instances))
    actions.extend(_starts(release, fleet, wanted, policy.instances_per_host, room))
    return tuple(actions)


def converged(release: Release, fleet: Fleet, policy: Policy) -> bool:
    """Every slot of every host runs this release, admitted and healthy, and nothing else runs."""
    per_host = Counter(
        i.host
        for i in fleet.instances
        if i.spec == release.spec and i.available and i.phase is Phase.HEALTHY
    )
    return (
        fleet.confirmed
        and len(fleet.instances) == policy.instances_per_host * len(fleet.hosts)
        and len(fleet.table.members) == len(fleet.instances)
        and all(per_host[h.name] == policy.instances_per_host for h in fleet.hosts)
    )


def tend(fleet: Fleet) -> tuple[Action, ...]:
    """Take addresses out behind which no process listens any more. Silence is not absence."""
    lost = [i.member for i in fleet.instances if i.member and _gone(i, fleet)]
    known = {(i.host, i.slot) for i in fleet.instances}
    silent = {h.name for h in fleet.hosts if h.silent}
    lost += [
        m
        for m in fleet.table.members
        if (m.host, m.slot) not in known and m.host not in silent and fleet.host(m.host)
    ]
    return (WithdrawInstances(tuple(sorted(lost))),) if lost else ()


def readmit(fleet: Fleet) -> tuple[Action, ...]:
    """Admit again what was admitted before and serves once more, outside of any rollout."""
    back = [i for i in fleet.instances if i.admitted_once and admissible(i)]
    return (AdmitInstances(tuple(sorted(map(_member, back)))),) if back and fleet.confirmed else ()


def keepers(spec: Spec, instances: Iterable[Instance], per_host: int) -> list[Instance]:
    """The instances that stay: of this spec, meant to run, the best `per_host` of each host."""
    fitting = [i for i in instances if i.spec == spec and i.goal is Goal.RUN]
    fitting.sort(key=lambda i: (i.host, not i.available, i.slot))
    taken: Counter[str] = Counter()
    kept = []
    for instance in fitting:
        taken[instance.host] += 1
        if taken[instance.host] <= per_host:
            kept.append(instance)
    return kept


def admissible(instance: Instance) -> bool:
    """Healthy by a believable report, meant to run, and not in the table at its address."""
    return (
        instance.phase is Phase.HEALTHY
        and instance.goal is Goal.RUN
        and not instance.silent
        and (instance.member is None or instance.member.address != instance.address)
    )


def changing(instances: Iterable[Instance], wanted: list[Instance]) -> int:
    """How many instances are between two states by our own doing: coming up, or on their way out.

    A silent host is not our doing; it counts against availability instead.
    """
    return sum(
        not i.available if i in wanted else i.goal is not Goal.RUN or i.member is None
        for i in instances
        if not i.silent
    )


def spare(fleet: Fleet, limits: Bounds) -> int:
    """How many available instances may be withdrawn: 7 available, 6 needed, so 1.

    Instances that are down already have used up their share.
    """
    return fleet.available - limits.min_available


def panic(fleet: Fleet) -> bool:
    """More than half of what is admitted is not ready: the cause is elsewhere, touch nothing."""
    admitted = [i for i in fleet.instances if i.member]
    return 2 * sum(not i.available for i in admitted) > len(admitted)


def _member(instance: Instance) -> Member:
    return Member(instance.host, instance.slot, instance.address)


def _gone(instance: Instance, fleet: Fleet) -> bool:
    if instance.silent:
        return False
    if instance.phase is None:
        return _settled(instance, fleet)
    return instance.phase in NOT_SERVING


def _settled(instance: Instance, fleet: Fleet) -> bool:
    """The host's last report is about its present goals, so what it does not show is not there."""
    host = fleet.host(instance.host)
    return host is not None and host.settled and not host.silent


def _leave(unwanted: list[Instance], fleet: Fleet) -> Iterator[Action]:
    """The way out of what is no longer in the table: drain, stop, free."""
    for instance in unwanted:
        if instance.member is not None:
            continue
        gone = instance.phase in (None, Phase.EXITED) and _settled(instance, fleet)
        if instance.goal is Goal.STOP:
            if gone and instance.phase is None:
                yield FreeSlot(instance.host, instance.slot)
        elif not fleet.confirmed:
            continue
        elif _may_stop(instance, gone):
            yield StopInstance(instance.host, instance.slot)
        elif instance.goal is not Goal.DRAIN:
            yield DrainInstance(instance.host, instance.slot)


def _may_stop(instance: Instance, gone: bool) -> bool:
    if not instance.admitted_once:
        return True
    return instance.goal is Goal.DRAIN and (instance.drained or gone)


def _withdrawals(
    unwanted: list[Instance], fleet: Fleet, limits: Bounds, budget: int
) -> list[Instance]:
    """Old instances that may leave the table now, those of the fullest host first."""
    crowd = Counter(i.host for i in fleet.instances)
    candidates = sorted(
        (i for i in unwanted if i.member and not _gone(i, fleet)),
        key=lambda i: (i.available, -crowd[i.host], i.host, i.slot),
    )
    left = spare(fleet, limits)
    frozen = panic(fleet)
    leaving: list[Instance] = []
    for instance in candidates:
        if len(leaving) >= budget:
            break
        if instance.available:
            if left < 1:
                continue
            left -= 1
        elif left < 0 and (frozen or instance.phase is not Phase.FAILED):
            continue
        leaving.append(instance)
    return leaving


def _starts(
    release: Release, fleet: Fleet, wanted: list[Instance], per_host: int, room: int
) -> Iterator[Action]:
    have = Counter(i.host for i in wanted)
    used = {(i.host, i.slot) for i in fleet.instances}
    ready = [h for h in fleet.hosts if not h.silent and release.digest in h.images]
    while room > 0 and ready:
        host = min(ready, key=lambda h: (have[h.name], h.name))
        if have[host.name] >= per_host:
            return
        slot = _free_slot(host, used)
        have[host.name] += 1
        used.add((host.name, slot))
        room -= 1
        yield StartInstance(host.name, slot, release)


def _free_slot(host: Host, used: set[tuple[str, int]]) -> int:
    slot = 1
    while (host.name, slot) in used:
        slot += 1
    return slot
