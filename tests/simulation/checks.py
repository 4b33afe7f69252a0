"""What is true in the simulated world, checked at every effect, whatever the leader believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from controlplane.domain.bounds import bounds
from controlplane.domain.changes import UNLED_S
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.look import SILENT_AFTER_S
from controlplane.domain.model import TERMINAL, EdgesRequired, Policy, Rollout, State, deadline_s
from controlplane.domain.records import LOOK_VALID_S, Changes, HostRow, Snapshot
from controlplane.domain.reports import SERVING, SlotReport
from controlplane.domain.routing import Member
from tests.simulation.cluster import Cluster
from tests.simulation.violation import Violation

# After the faults a healthy instance is back in the table long before this.
CALM_S, READMITTED_S = 20.0, 9.0
# A leader may act on a look that was taken just before a host fell silent.
BELIEVED_S = SILENT_AFTER_S + LOOK_VALID_S


@dataclass(slots=True)
class Checks:
    """The properties over one run. `before` is the store as it is when a commit takes effect."""

    cluster: Cluster
    policy: Policy
    drain_began: dict[tuple[str, int], float] = field(default_factory=dict)
    left_at: dict[str, float] = field(default_factory=dict)
    published: int = 0
    terminal: dict[str, State] = field(default_factory=dict)
    commits: int = 0
    holders: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)
    members: dict[int, frozenset[Member] | None] = field(default_factory=dict)

    def commit(self, epoch: int, before: Snapshot, changes: Changes) -> None:
        self.commits += 1
        self.story += [
            f"{before.now:7.2f} e{epoch} {kind:8} {what}" for kind, what in changes.events
        ]
        self.cluster.past.remember()
        self._only_the_highest_epoch(epoch)
        self._judged_fairly(before, changes)
        self._built_on_what_it_replaces(before, changes)
        self._terminal_is_final(changes)
        if changes.table is not None:
            self._withdrawals(before, changes)
            self._admissions(before, changes)
            self._never_emptied(before, changes)
        if changes.slots:
            self._surge(before, changes)
            self._stops(before, changes)

    def publish(self, revision: int, epoch: int) -> None:
        """A table took effect in Redis; edges never go back to an older one.

        An outdated leader may still repeat the table that is in place, while its successor has
        written a newer one to the store but published nothing yet.
        """
        if revision < self.published:
            raise Violation(f"I5: epoch {epoch} published table {revision} over {self.published}")
        self.published = revision
        members = self.cluster.store.table.members if self._is_current(revision) else None
        known = self.members.setdefault(revision, members)
        if known is not None and members is not None and known != members:
            raise Violation(f"I5: epoch {epoch} published another table {revision}")

    def _is_current(self, revision: int) -> bool:
        return self.cluster.store.table.revision == revision

    def started(self) -> None:
        """A process began: never more than desired + surge in all."""
        alive = sum(len(m.alive()) for m in self.cluster.machines.values())
        limits = bounds(self.policy, len(self.cluster.hosts))
        if alive > limits.max_total and self.cluster.world.now > self.cluster.forgiven_until:
            raise Violation(f"I2: {alive} processes, at most {limits.max_total}")

    def claimed(self, before: HostRow, holder: str) -> None:
        """A host passed to another agent: only when its own was silent for long enough."""
        self.holders.add(holder)
        silent_s = self.cluster.world.now - before.seen_at
        if before.holder and silent_s <= self.policy.host_silence_s:
            raise Violation(f"One agent a host: {holder} took it {silent_s:.1f} s after a report")

    def twin_started(self, name: str) -> None:
        """A second machine acts: only as one that the host was given to."""
        if name not in self.holders:
            raise Violation(f"One agent a host: {name} acted and was never given the host")

    def _only_the_highest_epoch(self, epoch: int) -> None:
        highest = self.cluster.store.issued
        if epoch < highest:
            raise Violation(f"I5: epoch {epoch} wrote after {highest} was issued")

    def _judged_fairly(self, before: Snapshot, changes: Changes) -> None:
        """No release is given up for what befalls the old one as well, nor for lost time."""
        was, now = before.rollout, changes.rollout
        if was is None or now is None or now.state not in (State.ROLLING_BACK, State.FAILED):
            return
        if now.state is was.state:
            return
        if "did not become ready" in now.cause and self._all_out(before, was):
            raise Violation(f"I10: judged while nothing was ready: {now.cause}")
        if now.cause.startswith("The deadline for"):
            led_s = before.now - was.state_since - self._unled_s(was.state_since, before.now)
            if led_s < deadline_s(was.policy, was.state) - UNLED_S:
                raise Violation(f"I7: after {led_s:.1f} s with a leader: {now.cause}")

    def _all_out(self, before: Snapshot, rollout: Rollout) -> bool:
        """No machine has a ready instance, and old ones that are heard of should be."""
        heard = {r.name for r in before.hosts if before.now - r.seen_at <= SILENT_AFTER_S}
        places = {(m.host, m.slot) for m in before.table.members if m.host in heard}
        spec = rollout.target.spec
        old = [g for g in before.slots if (g.host, g.slot) in places and g.release.spec != spec]
        out = all(
            any(begin + SILENT_AFTER_S <= before.now < end for begin, end in machine.outages)
            for machine in self.cluster.machines.values()
        )
        return out and bool(old)

    def _unled_s(self, begin: float, end: float) -> float:
        unled, until = 0.0, begin
        for gone, back in sorted(self.cluster.unled):
            unled += max(0.0, min(back, end) - max(gone, until))
            until = max(until, min(back, end))
        return unled

    def _built_on_what_it_replaces(self, before: Snapshot, changes: Changes) -> None:
        """Whoever looked before somebody else wrote has to look again."""
        now, new = before.rollout, changes.rollout
        if new is not None and now is not None and (now.id, now.version) != (new.id, new.version):
            raise Violation(f"I9: {new.id} was written over a row that had changed since the look")
        if changes.table is not None and changes.table.revision != before.table.revision + 1:
            raise Violation(f"I9: table {changes.table.revision} is made from an outdated one")
        goals = {(g.host, g.slot): g.goal for g in before.slots}
        for goal in changes.slots:
            if goal.goal is Goal.RUN and goals.get((goal.host, goal.slot), Goal.RUN) != Goal.RUN:
                raise Violation(f"I9: {goal.host}/{goal.slot} was on its way out and runs again")

    def _terminal_is_final(self, changes: Changes) -> None:
        rollout = changes.rollout
        if rollout is None:
            return
        if rollout.id in self.terminal:
            raise Violation(f"I8: {rollout.id} left {self.terminal[rollout.id]}")
        if rollout.state in TERMINAL:
            self.terminal[rollout.id] = rollout.state
        if rollout.state not in TERMINAL and rollout.deadline_at <= rollout.state_since:
            raise Violation(f"I7: {rollout.state} has no deadline")

    def _withdrawals(self, before: Snapshot, changes: Changes) -> None:
        assert changes.table is not None
        gone = before.table.members - changes.table.members
        places = {(m.host, m.slot) for m in changes.table.members}
        gone_places = [m for m in gone if (m.host, m.slot) not in places]
        seen = {r.name: before.now - r.seen_at for r in before.hosts}
        seen |= dict.fromkeys(self.cluster.store.unread(), inf)
        if silent := [m.host for m in gone_places if seen[m.host] > BELIEVED_S]:
            raise Violation(f"I11: withdrew from {silent[0]}, which is silent")
        available = _available(before)
        leaving = available & gone
        limits = bounds(self.policy, len(self.cluster.hosts))
        if leaving and len(available) - len(leaving) < limits.min_available:
            left = len(available) - len(leaving)
            raise Violation(f"I1: {left} available, {limits.min_available} needed")

    def _admissions(self, before: Snapshot, changes: Changes) -> None:
        assert changes.table is not None
        for member in changes.table.members - before.table.members:
            goal = self.cluster.store.slots.get((member.host, member.slot))
            process = self.cluster.machine(member.host).at(member.address)
            if goal is None or member not in _ready(before):
                raise Violation(f"I4: admitted {member.host}/{member.slot}, not reported ready")
            if process is None:
                continue  # it died after it was reported; the next report takes it out again
            answers = process.behaviour.answers_as or process.spec
            if answers != goal.release.spec:
                raise Violation(f"I4: admitted {answers.version} for {goal.release.version}")

    def _never_emptied(self, before: Snapshot, changes: Changes) -> None:
        """The last one may leave because it died, but not while another has waited for long."""
        assert changes.table is not None
        self.left_at |= {m.address: before.now for m in before.table.members}
        if changes.table.members or before.now < CALM_S:
            return
        for member in _ready(before):
            goal = self.cluster.store.slots.get((member.host, member.slot))
            process = self.cluster.machines[member.host].at(member.address)
            if goal is None or goal.goal is not Goal.RUN or process is None:
                continue
            back = [end for _, end in self.cluster.machines[member.host].outages]
            since = max(self.left_at.get(member.address, process.started), *back, 0.0)
            if before.now - since > READMITTED_S:
                raise Violation(f"I11: the edges are emptied while {member.address} could serve")

    def _surge(self, before: Snapshot, changes: Changes) -> None:
        known = {(g.host, g.slot) for g in before.slots}
        new = [g for g in changes.slots if (g.host, g.slot) not in known and g.goal is Goal.RUN]
        limits = bounds(self.policy, len(self.cluster.hosts))
        total = len(known) + len(new) - len(changes.freed)
        if new and total > limits.max_total and before.now > self.cluster.forgiven_until:
            raise Violation(f"I2: {total} slots, at most {limits.max_total}")

    def _stops(self, before: Snapshot, changes: Changes) -> None:
        former = {(g.host, g.slot): g for g in before.slots}
        now_lost = changes.lost_edges or frozenset()
        for goal in changes.slots:
            place = (goal.host, goal.slot)
            if goal.goal is Goal.RUN or (place in former and former[place].goal is goal.goal):
                continue
            self._left_by_all_edges(goal.host, goal.slot, before.lost_edges | now_lost)
            if goal.goal is Goal.DRAIN:
                self.drain_began[place] = self.cluster.world.now
            elif goal.admitted_once:
                self._streams_ended(goal)

    def _left_by_all_edges(self, host: str, slot: int, lost: frozenset[str]) -> None:
        process = self.cluster.machine(host).slots.get(slot)
        if process is None:
            return
        edges = self.cluster.routing.edges
        spared = self.policy.edges_required is EdgesRequired.ANY and len(lost) < len(edges)
        for edge in edges:
            if spared and edge.name in lost:
                continue
            table = edge.table
            if table and any(m.address == process.address for m in table.members):
                raise Violation(f"I3: {host}/{slot} is sent away while {edge.name} routes to it")

    def _streams_ended(self, goal: SlotGoal) -> None:
        host, slot = place = goal.host, goal.slot
        now = self.cluster.world.now
        process = self.cluster.machine(host).slots.get(slot)
        waited = now - self.drain_began.get(place, now)
        if process is None or process.spec != goal.release.spec:
            return  # it is another one, which nobody was routed to
        if process.streams(now) and waited < self.policy.drain_deadline_s:
            raise Violation(f"I3: {host}/{slot} is stopped with a stream, {waited:.1f} s in drain")


def _available(before: Snapshot) -> frozenset[Member]:
    """Members that are ready by the newest believable reports."""
    return before.table.members & _ready(before)


def _ready(before: Snapshot) -> set[Member]:
    ready: set[Member] = set()
    for row in before.hosts:
        if row.report is None or before.now - row.seen_at > BELIEVED_S:
            continue
        ready |= {Member(row.name, s.slot, s.address) for s in row.report.slots if _serves(s)}
    return ready


def _serves(report: SlotReport) -> bool:
    return report.phase in SERVING
