"""Laying goals, reports and edge readings side by side."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain.claims import claimed_too
from controlplane.domain.environs import whole
from controlplane.domain.fleet import Fleet, Host, Instance
from controlplane.domain.goals import SlotGoal
from controlplane.domain.model import Rollout
from controlplane.domain.protocol import PROTOCOL, skewed
from controlplane.domain.records import HostRow, Snapshot
from controlplane.domain.reports import SlotReport
from controlplane.domain.routing import EdgeReading, Member, Table

# Agents report at least every second; four missed reports are no longer bad luck.
SILENT_AFTER_S = 4.0


def look(snapshot: Snapshot, readings: tuple[EdgeReading, ...], leader: str = "") -> Fleet:
    """The fleet as it can be believed now, by the agent of host `leader`.

    An edge without the intended revision is unconfirmed.
    """
    hosts = tuple(_host(row, snapshot.now) for row in snapshot.hosts)
    members = {(m.host, m.slot): m for m in snapshot.table.members}
    goals: dict[str, dict[int, SlotGoal]] = {row.name: {} for row in snapshot.hosts}
    for goal in snapshot.slots:
        goals.setdefault(goal.host, {})[goal.slot] = goal
    instances: list[Instance] = []
    for row, host in zip(snapshot.hosts, hosts, strict=True):
        found = _instances(row, host, goals[row.name], members)
        if snapshot.rollout is not None and snapshot.rollout.renews:
            environ, own = whole(host.environ), goals[row.name]
            found = [_renewed(i, snapshot.rollout, own.get(i.slot), environ) for i in found]
        instances.extend(found)
    return Fleet(
        hosts=hosts,
        instances=tuple(instances),
        table=snapshot.table,
        unconfirmed=_unconfirmed(snapshot.table, readings),
        jobs=snapshot.jobs,
        schema=snapshot.schema,
        leader=leader,
        one_environment=_one_environment(snapshot.rollout),
    )


def _one_environment(rollout: Rollout | None) -> bool:
    return rollout is not None and rollout.renews and rollout.policy.same_environment


def _renewed(instance: Instance, rollout: Rollout, goal: SlotGoal | None, environ: str) -> Instance:
    """The instance, marked when the rollout wants it started anew: it was asked to restart all,
    or its host has other variables for it by now. On the way back what runs is good enough."""
    before = rollout.restart and (goal is None or goal.rollout != rollout.id)
    other = bool(environ and instance.environ) and environ != instance.environ
    return replace(instance, outdated=True) if before or other else instance


def _unconfirmed(table: Table, readings: tuple[EdgeReading, ...]) -> tuple[EdgeReading, ...]:
    return tuple(r for r in readings if r.revision != table.revision)


def _host(row: HostRow, now: float) -> Host:
    unheard_s = max(0.0, now - row.seen_at)
    unheard = unheard_s > SILENT_AFTER_S
    report = row.report
    error = report.runtime_error if report and not unheard else ""
    images = report.images if report else ()
    return Host(
        name=row.name,
        silent_s=unheard_s + (report.blind_s if report else 0.0),
        silent=unheard or bool(error) or (report is not None and skewed(report.protocol)),
        settled=report is not None and report.desired_version == row.desired_version,
        images=frozenset(i.digest for i in images if i.present),
        wanted_images=frozenset(r.digest for r in row.images),
        image_errors=tuple(i for i in images if i.error),
        runtime_error=error,
        protocol=report.protocol if report else PROTOCOL,
        agent_version=report.agent_version if report else "",
        agent=report.agent if report else None,
        agent_goal=row.agent,
        pulls=report.pulls if report else (),
        holder=row.holder,
        rival=claimed_too(row, now),
        environ=report.environ if report else (),
    )


def _instances(
    row: HostRow,
    host: Host,
    goals: dict[int, SlotGoal],
    members: dict[tuple[str, int], Member],
) -> list[Instance]:
    reports = {s.slot: s for s in row.report.slots} if row.report else {}
    return [
        _instance(host, slot, goals.get(slot), reports.get(slot), members.get((host.name, slot)))
        for slot in sorted(goals.keys() | reports.keys())
    ]


def _instance(
    host: Host, slot: int, goal: SlotGoal | None, report: SlotReport | None, member: Member | None
) -> Instance:
    """A slot that reports another spec than its goal reports nothing about that goal."""
    spec = goal.release.spec if goal else report.spec if report else None
    assert spec is not None
    believed = report if report is not None and report.spec == spec else None
    return Instance(
        host=host.name,
        slot=slot,
        spec=spec,
        goal=goal.goal if goal else None,
        since=goal.since if goal else 0.0,
        phase=believed.phase if believed else None,
        address=believed.address if believed else "",
        drained=believed.drained if believed else False,
        admitted_once=goal.admitted_once if goal else True,
        member=member,
        silent=host.silent,
        detail=report.detail if report else "",
        restarts=believed.restarts if believed else 0,
        environ=believed.environ if believed else "",
    )
