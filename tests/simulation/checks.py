"""What is true in the simulated world, checked at every effect, whatever the leader believed."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.domain.bounds import bounds
from controlplane.domain.goals import Goal
from controlplane.domain.look import SILENT_AFTER_S
from controlplane.domain.model import TERMINAL, Policy, State
from controlplane.domain.records import LOOK_VALID_S, Changes, HostRow, Snapshot
from controlplane.domain.reports import SERVING, SlotReport
from controlplane.domain.routing import Member
from tests.simulation.cluster import Cluster

# A leader may act on a look that was taken just before a host fell silent.
BELIEVED_S = SILENT_AFTER_S + LOOK_VALID_S


class Violation(AssertionError):
    """A safety property did not hold; the text begins with its name."""


@dataclass(slots=True)
class Checks:
    """The properties over one run. `before` is the store as it is when a commit takes effect."""

    cluster: Cluster
    policy: Policy
    drain_began: dict[tuple[str, int], float] = field(default_factory=dict)
    published: int = 0
    terminal: dict[str, State] = field(default_factory=dict)
    commits: int = 0
    holders: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)

    def commit(self, epoch: int, before: Snapshot, changes: Changes) -> None:
        self.commits += 1
        self.story += [
            f"{before.now:7.2f} e{epoch} {kind:8} {what}" for kind, what in changes.events
        ]
        self._only_the_highest_epoch(epoch)
        self._built_on_what_it_replaces(before, changes)
        self._terminal_is_final(changes)
        if changes.table is not None:
            self._withdrawals(before, changes)
            self._admissions(before, changes)
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

    def started(self) -> None:
        """A process began: never more than desired + surge in all."""
        alive = sum(len(m.alive()) for m in self.cluster.machines.values())
        limits = bounds(self.policy, len(self.cluster.hosts))
        if alive > limits.max_total:
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

    def _surge(self, before: Snapshot, changes: Changes) -> None:
        known = {(g.host, g.slot) for g in before.slots}
        new = [g for g in changes.slots if (g.host, g.slot) not in known and g.goal is Goal.RUN]
        limits = bounds(self.policy, len(self.cluster.hosts))
        total = len(known) + len(new) - len(changes.freed)
        if new and total > limits.max_total:
            raise Violation(f"I2: {total} slots, at most {limits.max_total}")

    def _stops(self, before: Snapshot, changes: Changes) -> None:
        former = {(g.host, g.slot): g for g in before.slots}
        for goal in changes.slots:
            place = (goal.host, goal.slot)
            if goal.goal is Goal.RUN or (place in former and former[place].goal is goal.goal):
                continue
            self._left_by_all_edges(goal.host, goal.slot)
            if goal.goal is Goal.DRAIN:
                self.drain_began[place] = self.cluster.world.now
            elif goal.admitted_once:
                self._streams_ended(place)

    def _left_by_all_edges(self, host: str, slot: int) -> None:
        process = self.cluster.machine(host).slots.get(slot)
        if process is None:
            return
        for edge in self.cluster.routing.edges:
            table = edge.table
            if table and any(m.address == process.address for m in table.members):
                raise Violation(f"I3: {host}/{slot} is sent away while {edge.name} routes to it")

    def _streams_ended(self, place: tuple[str, int]) -> None:
        host, slot = place
        now = self.cluster.world.now
        process = self.cluster.machine(host).slots.get(slot)
        waited = now - self.drain_began.get(place, now)
        if process and process.streams(now) and waited < self.policy.drain_deadline_s:
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
