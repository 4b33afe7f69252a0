"""Whether PostgreSQL still says all that it has said: a restore or a failover may take it back.

Redis and the agents remember what PostgreSQL issued. None of them can be ahead of it otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.look import SILENT_AFTER_S
from controlplane.domain.model import Release, nameless
from controlplane.domain.records import HostRow, Snapshot
from controlplane.domain.reports import SERVING
from controlplane.domain.routing import EdgeReading, Member, Published, Table

LEAP = 1_000_000


def took_back(seen: Snapshot, epoch: int, published: Published | None) -> str:
    """The sentence that says so, or "".

    `seen` is what PostgreSQL says, `epoch` what it issued last, `published` what Redis or an edge
    knew before.
    """
    if published is not None and published.epoch > epoch:
        return _sentence(f"epoch {published.epoch}", "Redis", f"epoch {epoch}")
    if published is not None and published.revision > seen.table.revision:
        known = f"routing table {published.revision}"
        return _sentence(known, "Redis or an edge", f"table {seen.table.revision}")
    for row in seen.hosts:
        report = row.report
        if report is not None and report.epoch > epoch:
            return _sentence(f"epoch {report.epoch}", f"the agent of {row.name}", f"epoch {epoch}")
        if report is not None and report.desired_version > row.desired_version:
            known = f"version {report.desired_version} of its goals"
            return _sentence(known, row.name, f"version {row.desired_version}")
    return ""


def latest(readings: tuple[EdgeReading, ...]) -> Published | None:
    """The latest table that an edge serves, whoever wrote it; None when no edge says so."""
    served = [r.revision for r in readings if r.revision is not None]
    return Published(0, max(served)) if served else None


def beyond(epoch: int, revision: int) -> Published:
    """Where things go on from after the truth went back, above whatever was issued since.

    Not all who know what was issued can be asked: a silent agent, an edge that is down. So it is
    a leap, and no count: nobody issues a million of either between a backup and its restore.
    """
    return Published(epoch + LEAP, revision + LEAP)


def adopted(seen: Snapshot, releases: Mapping[str, Release]) -> tuple[tuple[SlotGoal, ...], Table]:
    """Goals and members after the truth went back: what runs goes on running, and serving.

    What PostgreSQL wants of hosts that are heard of was written before what they did since. So
    their goals become what they report, by the `releases` of those digests, but for what was on
    its way out already. What serves is a member, and so is what was one and still lives at its
    address: it may be unready for the very reason that PostgreSQL was away. Hosts that are not
    heard of keep what PostgreSQL says.
    """
    heard = {row.name: row.report for row in seen.hosts if row.report and _looked(row, seen.now)}
    goals = [g for g in seen.slots if g.host not in heard]
    members = {m for m in seen.table.members if m.host not in heard}
    for host, report in heard.items():
        for slot in report.slots:
            wanted = next((g for g in seen.slots if (g.host, g.slot) == (host, slot.slot)), None)
            if wanted is not None and wanted.release.spec == slot.spec and wanted.goal != Goal.RUN:
                goals.append(wanted)
                continue
            release = releases.get(slot.spec.digest) or nameless(slot.spec)
            # Counted as having served: it is drained before it is stopped, and serves when it can.
            goals.append(SlotGoal(host, slot.slot, release, Goal.RUN, seen.now, True))
            member = Member(host, slot.slot, slot.address)
            if slot.phase in SERVING or member in seen.table.members:
                members.add(member)
    return tuple(goals), Table(seen.table.revision, frozenset(members))


def _looked(row: HostRow, now: float) -> bool:
    """The host is heard of, and its agent has seen it: nothing seen yet is not nothing there."""
    report = row.report
    return (
        report is not None
        and now - row.seen_at <= SILENT_AFTER_S
        and (bool(report.slots) or report.desired_version >= 0)
    )


def _sentence(known: str, who: str, said: str) -> str:
    return (
        f"PostgreSQL went back in time: {who} knows {known} and PostgreSQL says {said}, as after a"
        " restore or a failover that lost commits. Instances keep serving and nothing is decided"
        " until an operator accepts what PostgreSQL says now: camp env accept-truth ENVIRONMENT."
    )
