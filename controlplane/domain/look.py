"""Laying goals, reports and edge readings side by side."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain import edges
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
# Clocks are put right by parts of a second all the time; agents report within one.
CLOCK_SLACK_S = 1.0


def look(snapshot: Snapshot, readings: tuple[EdgeReading, ...], leader: str = "") -> Fleet:
    """The fleet as it can be believed now, by the agent of host `leader`."""
    policy = (snapshot.rollout or snapshot.environment).policy
    unconfirmed = _unconfirmed(snapshot.table, readings)
    lost = edges.lost(unconfirmed, snapshot.lost_edges, policy)
    waited = edges.required(unconfirmed, lost, policy, len(readings))
    believed = tuple(r for r in readings if r in waited or r not in unconfirmed)
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
        instances=_reached(instances, believed),
        table=snapshot.table,
        unconfirmed=waited,
        lost=lost,
        jobs=snapshot.jobs,
        schema=snapshot.schema,
        retired=snapshot.retired,
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
    return edges.behind(readings, table)


def _reached(instances: list[Instance], readings: tuple[EdgeReading, ...]) -> tuple[Instance, ...]:
    """The instances with what the edges' own checks say of those that they send traffic to."""
    if not any(reading.down or reading.untried for reading in readings):
        return tuple(instances)
    return tuple(_tried(i, readings) if i.member else i for i in instances)


def _tried(instance: Instance, readings: tuple[EdgeReading, ...]) -> Instance:
    by = tuple(r.edge for r in readings if instance.address in r.down)
    untried = any(instance.address in r.untried for r in readings)
    return replace(instance, unreached_by=by, untried=untried) if by or untried else instance


def _host(row: HostRow, now: float) -> Host:
    unheard_s = max(0.0, now - row.seen_at)
    # A moment to come is none at which it was heard: the database's clock went back since.
    unheard = unheard_s > SILENT_AFTER_S or row.seen_at - now > CLOCK_SLACK_S
    report, unread = row.report, row.unread
    spoken = report or unread
    error = report.runtime_error if report and not unheard else ""
    images = report.images if report else ()
    return Host(
        name=row.name,
        silent_s=unheard_s + (report.blind_s if report else 0.0),
        silent=unheard
        or bool(error)
        or unread is not None
        or (report is not None and skewed(report.protocol)),
        settled=report is not None and report.desired_version == row.desired_version,
        images=frozenset(i.digest for i in images if i.present),
        wanted_images=frozenset(r.digest for r in row.images),
        image_errors=tuple(i for i in images if i.error),
        runtime_error=error,
        protocol=spoken.protocol if spoken else PROTOCOL,
        agent_version=spoken.agent_version if spoken else "",
        agent=report.agent if report else None,
        agent_goal=row.agent,
        pulls=report.pulls if report else (),
        drained=row.drained,
        behind=row.behind,
        unread=unread.problem if unread else "",
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
