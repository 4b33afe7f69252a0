"""Rolling: replace instances a few at a time, new before old, never below the minimum.

One instance: start → healthy → admitted → every edge confirmed → an old one withdrawn → every
edge confirmed → drained → stopped → its slot freed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import attrgetter

from controlplane.domain.actions import (
    Action,
    AdmitInstances,
    DrainInstance,
    FreeSlot,
    StartInstance,
    StopInstance,
    WithdrawInstances,
)
from controlplane.domain.bounds import Bounds, limits_of, quarantined
from controlplane.domain.environs import differences
from controlplane.domain.fleet import Fleet, Instance
from controlplane.domain.goals import Goal
from controlplane.domain.model import Policy, Release, Spec
from controlplane.domain.reports import NOT_SERVING, Phase
from controlplane.domain.routing import Member


def converge(release: Release, fleet: Fleet, policy: Policy) -> tuple[Action, ...]:
    """The next steps that bring the fleet to `release`; none while something must be awaited."""
    drained = {h.name for h in fleet.hosts if h.drained}
    staying = [i for i in fleet.instances if i.host not in drained] if drained else fleet.instances
    wanted = keepers(release.spec, staying, policy.instances_per_host)
    stay = {(i.host, i.slot) for i in wanted}
    unwanted = [i for i in fleet.instances if (i.host, i.slot) not in stay and not i.silent]
    actions: list[Action] = [*tend(fleet), *_leave(unwanted, fleet)]
    if fleet.held_by_edge:
        # What was to leave, or has restarted, goes on serving until the edge is back.
        waiting = [i for i in fleet.instances if i.member is None]
        return (*actions, *_admit(i for i in waiting if i.admitted_once or i in wanted))
    actions.extend(_admit(i for i in wanted if i.member is None))
    if not fleet.confirmed:
        return tuple(actions)
    limits = limits_of(policy, fleet)
    budget = limits.batch - changing(wanted, unwanted)
    withdrawn = _withdrawals(wanted, unwanted, fleet, limits, budget)
    if withdrawn:
        actions.append(WithdrawInstances(tuple(sorted(i.member for i in withdrawn if i.member))))
    room = min(budget - len(withdrawn), limits.max_total - len(fleet.instances))
    if room > 0:
        actions.extend(_starts(release, fleet, wanted, policy.instances_per_host, room))
    return tuple(actions)


def converged(release: Release, fleet: Fleet, policy: Policy) -> bool:
    """Every slot of every host runs this release, admitted and healthy, and nothing else runs.

    Every host but the quarantined ones: what max_unavailable lets us do without is behind. A
    restart does not do without any: what runs there has the release and would not catch up.
    """
    away = quarantined(policy, fleet)
    hosts = [h for h in fleet.hosts if h.name not in away and not h.drained]
    here = [i for i in fleet.instances if i.host not in away]
    members = sum(m.host not in away for m in fleet.table.members)
    return (
        fleet.confirmed
        and len(here) == members == policy.instances_per_host * len(hosts)
        and bool(hosts)
        and holds(release, fleet)
        and not any(i.silent for i in here)
        and not any(i.outdated for i in fleet.instances)
        and all(n == policy.instances_per_host for n in per_host_of(here).values())
        and not (fleet.one_environment and differences(fleet.hosts))
    )


def holds(release: Release, fleet: Fleet) -> bool:
    """Whoever can be heard runs this release, admitted and healthy."""
    spec = release.spec
    return all(
        i.silent or (i.phase is Phase.HEALTHY and i.available and i.spec == spec and not i.outdated)
        for i in fleet.instances
    )


def tend(fleet: Fleet) -> tuple[Action, ...]:
    """Take addresses out behind which no process listens any more. Silence is not absence.

    What has restarted and serves takes the place of its former address at once.
    """
    admitted = [i for i in fleet.instances if i.member]
    lost = [i.member for i in admitted if i.member and _gone(i, fleet) and not admissible(i)]
    if len(admitted) < len(fleet.table.members):
        known = {i.member for i in admitted}
        heard = {h.name for h in fleet.hosts if not h.silent}
        lost += [m for m in fleet.table.members if m not in known and m.host in heard]
    moved = _admit(admitted)
    return (WithdrawInstances(tuple(sorted(lost))), *moved) if lost else moved


def evacuate(fleet: Fleet, policy: Policy) -> tuple[Action, ...]:
    """Empty drained hosts: out of the table, drained, stopped, as capacity allows."""
    drained = {h.name for h in fleet.hosts if h.drained and not h.silent}
    if not drained:
        return ()
    leaving = [i for i in fleet.instances if i.host in drained]
    staying = [i for i in fleet.instances if i.host not in drained]
    actions: list[Action] = list(_leave(leaving, fleet))
    limits = limits_of(policy, fleet)
    if fleet.confirmed:
        # What an aborted rollout has left on the others does not hold this up.
        budget = limits.batch - sum(i.member is None for i in leaving)
        withdrawn = _withdrawals(staying, leaving, fleet, limits, budget)
        if withdrawn:
            members = sorted(i.member for i in withdrawn if i.member)
            actions.append(WithdrawInstances(tuple(members)))
    return tuple(actions)


def readmit(fleet: Fleet) -> tuple[Action, ...]:
    """Admit again what was admitted before and serves once more, outside of any rollout."""
    drained = {h.name for h in fleet.hosts if h.drained}
    back = (i for i in fleet.instances if i.admitted_once and i.member is None)
    return _admit(i for i in back if i.host not in drained)


def _admit(instances: Iterable[Instance]) -> tuple[AdmitInstances, ...]:
    """Admit those that can be. It takes nothing from anybody, so no edge is waited for."""
    members = sorted(_member(i) for i in instances if admissible(i))
    return (AdmitInstances(tuple(members)),) if members else ()


def keepers(spec: Spec, instances: Iterable[Instance], per_host: int) -> list[Instance]:
    """The instances that stay: of this spec, meant to run, the best `per_host` of each host."""
    fitting = [i for i in instances if i.goal is Goal.RUN and i.spec == spec and not i.outdated]
    if not any(n > per_host for n in per_host_of(fitting).values()):
        return fitting
    fitting.sort(key=lambda i: (i.host, not i.available, i.slot))
    return [i for _, own in groupby(fitting, attrgetter("host")) for i in islice(own, per_host)]


def admissible(instance: Instance) -> bool:
    """Healthy by a believable report, meant to run, and not in the table at its address."""
    return (
        instance.phase is Phase.HEALTHY
        and instance.goal is Goal.RUN
        and not instance.silent
        and (instance.member is None or instance.member.address != instance.address)
    )


def changing(wanted: list[Instance], unwanted: list[Instance]) -> int:
    """How many instances are between two states by our own doing: coming up, or on their way out.

    A silent host is not our doing; it counts against availability instead. What has failed, and
    is no reason to give up, must not hold up the others.
    """
    coming = sum(not i.available and not i.silent and i.phase is not Phase.FAILED for i in wanted)
    leaving = sum((i.goal is not Goal.RUN or i.member is None) and not i.silent for i in unwanted)
    return coming + leaving


def spare(fleet: Fleet, limits: Bounds) -> int:
    """How many available instances may be withdrawn: 7 available, 6 needed, so 1.

    Instances that are down already have used up their share.
    """
    return fleet.available - limits.min_available


def unproven(wanted: Iterable[Instance]) -> Instance | None:
    """An instance on a host of which the edges have not tried any instance of the release yet.

    A closed firewall or a wrong address is that of a host: one instance shows it, before an old
    one leaves for it.
    """
    admitted = [i for i in wanted if i.member]
    tried = {i.host for i in admitted if not i.untried}
    return next((i for i in admitted if i.host not in tried), None)


def panic(fleet: Fleet) -> bool:
    """More than half of what is admitted is not ready: the cause may well be elsewhere.

    Then nothing is touched, until an instance of the release proves by its readiness that the
    release makes the difference.
    """
    admitted = [i for i in fleet.instances if i.member]
    return 2 * sum(not i.available for i in admitted) > len(admitted)


def _member(instance: Instance) -> Member:
    return Member(instance.host, instance.slot, instance.address)


def _gone(instance: Instance, fleet: Fleet) -> bool:
    """Nothing listens at the address in the table: no process, or one that listens elsewhere."""
    if instance.silent or instance.member is None:
        return False
    if instance.phase is None:
        return _settled(instance, fleet)
    return instance.phase in NOT_SERVING or instance.address != instance.member.address


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
    wanted: list[Instance], unwanted: list[Instance], fleet: Fleet, limits: Bounds, budget: int
) -> list[Instance]:
    """Old instances that may leave the table now, those of the fullest host first."""
    candidates = [i for i in unwanted if i.member and not _gone(i, fleet)]
    if budget < 1 or not candidates:
        return []
    crowd = per_host_of(fleet.instances)
    candidates.sort(key=lambda i: (i.available, -crowd[i.host], i.host, i.slot))
    left = spare(fleet, limits)
    if unproven(wanted):
        left = min(left, 0)
    frozen = panic(fleet) and not any(i.available for i in wanted)
    if frozen and not wanted and limits.max_total <= len(fleet.instances):
        # There is no room beside them: give one up, and what takes its place shows the cause.
        frozen, budget = False, 1
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
    able = (h for h in fleet.hosts if not h.silent and not h.drained)
    have = {h.name: 0 for h in able if release.digest in h.images}
    for instance in wanted:
        if instance.host in have:
            have[instance.host] += 1
    used = {(i.host, i.slot) for i in fleet.instances}
    while room > 0 and have:
        host = min(have, key=lambda name: (have[name], name))
        if have[host] >= per_host:
            return
        slot = _free_slot(host, used)
        have[host] += 1
        used.add((host, slot))
        room -= 1
        yield StartInstance(host, slot, release)


def _free_slot(host: str, used: set[tuple[str, int]]) -> int:
    slot = 1
    while (host, slot) in used:
        slot += 1
    return slot


def per_host_of(instances: Iterable[Instance]) -> dict[str, int]:
    """How many of these instances each host has."""
    counts: dict[str, int] = {}
    for instance in instances:
        counts[instance.host] = counts.get(instance.host, 0) + 1
    return counts
