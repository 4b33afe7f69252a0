"""The store in memory: same promises, virtual time, parts shared instead of copied."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import msgspec

from controlplane.adapters.postgres import decoding
from controlplane.domain.claims import claim
from controlplane.domain.errors import Conflict, Fenced, NotFound, Stale, StoreUnavailable
from controlplane.domain.goals import HostDesired, Job, JobState, SlotGoal
from controlplane.domain.look import SILENT_AFTER_S
from controlplane.domain.model import Environment, Rollout, State
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.records import LOOK_VALID_S, Changes, HostRow, Snapshot
from controlplane.domain.reports import HostReport, Unread
from controlplane.domain.routing import Table
from tests.fakes.newer import newer
from tests.fakes.world import World

KNOWN = frozenset(JobState)
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED})


class FakeStore:
    """One environment. `rollout` is the latest one, active or finished.

    `commits` is called inside every commit that passes its checks, with the epoch, the state
    before it and the changes: the place to check invariants. Between its two points a method
    awaits nothing. The agents of hosts in `newer` are of a later release.
    """

    def __init__(self, world: World, environment: Environment) -> None:
        self.world = world
        self.environment = environment
        self.down = False
        self.issued = 0
        self.protocol = PROTOCOL
        self.holder = ""
        self.led_at = 0.0
        # Empty, as before the first epoch: hashing takes time that most tests do not have.
        self.secret = ""
        self.rollout: Rollout | None = None
        self.slots: dict[tuple[str, int], SlotGoal] = {}
        self.hosts = {
            name: HostRow(name, 0, (), None, 0, 0.0) for name in sorted(environment.hosts)
        }
        self.newer: set[str] = set()
        self._raw: dict[str, bytes] = {}
        self.table = Table()
        self.lost_edges: frozenset[str] = frozenset()
        self.jobs: dict[str, Job] = {}
        self.schema: frozenset[str] = frozenset()
        self.retired: frozenset[str] = frozenset()
        self.events: list[tuple[str, str]] = []
        self.commits: Callable[[int, Snapshot, Changes], None] | None = None
        self.on_epoch: Callable[[int], None] = lambda seen: None
        # Called when a host passes to another agent, with its row before and the new holder.
        self.claims: Callable[[HostRow, str], None] | None = None
        self._goals: tuple[SlotGoal, ...] | None = ()
        self._desired: dict[str, HostDesired] = {}

    # What operators do through the control API.

    def start(self, rollout: Rollout) -> None:
        """Make a rollout the active one."""
        if self.rollout is not None and self.rollout.active:
            raise Conflict(f"Rollout {self.rollout.id} is active.")
        self.rollout = rollout
        self._desired.clear()

    def steer(self, rollout: Rollout) -> None:
        """Replace the rollout by what a command made of it."""
        self.rollout = replace(rollout, version=rollout.version + 1)
        self._desired.clear()

    def apply(self, environment: Environment) -> None:
        """Change policy, hosts or edges; what the environment holds stays."""
        mine = self.environment
        self.environment = replace(
            environment, version=mine.version + 1, current=mine.current, previous=mine.previous
        )
        self.hosts = {
            name: self.hosts.get(name) or HostRow(name, 0, (), None, 0, 0.0)
            for name in sorted(environment.hosts)
        }
        self._desired.clear()

    # The port.

    async def claim_epoch(self, holder: str, seen: int) -> bool:
        await self.world.point("store.claim_epoch")
        self._up()
        claimed = self.issued == seen
        if claimed:
            self.on_epoch(seen)
            self.issued, self.holder = seen + 1, holder
            self._desired.clear()
        await self.world.point("store.claim_epoch.done")
        return claimed

    async def epoch(self) -> int:
        await self.world.point("store.epoch")
        self._up()
        issued = self.issued
        await self.world.point("store.epoch.done")
        return issued

    async def led(self, epoch: int) -> bool:
        await self.world.point("store.led")
        self._up()
        mine = epoch == self.issued
        if mine:
            self.led_at = self.world.now
        await self.world.point("store.led.done")
        return mine

    async def observe(self) -> Snapshot:
        await self.world.point("store.observe")
        self._up()
        snapshot = self.snapshot()
        await self.world.point("store.observe.done")
        return snapshot

    async def commit(self, epoch: int, holder: str, seen: Snapshot, changes: Changes) -> None:
        await self.world.point("store.commit")
        self._up()
        self._fence(epoch, holder)
        self._refuse_outdated(seen, changes)
        if self.commits is not None:
            self.commits(epoch, self.snapshot(), changes)
        self._write(changes)
        self.led_at = self.world.now
        await self.world.point("store.commit.done")

    async def sweep(self, epoch: int, holder: str) -> int:
        """Of what was there before it keeps nothing, so there is nothing to forget."""
        await self.world.point("store.sweep")
        self._up()
        self._fence(epoch, holder)
        for row in self.hosts.values():
            if row.seen_at > self.world.now:
                silent_since = self.world.now - SILENT_AFTER_S
                self.hosts[row.name] = replace(row, seen_at=silent_since)
        await self.world.point("store.sweep.done")
        return 0

    async def desired(self, host: str) -> HostDesired | None:
        await self.world.point("store.desired")
        self._up()
        desired = self._desired.get(host)
        if desired is None and host in self.hosts:
            desired = self._desired[host] = self._desired_of(self.hosts[host])
        await self.world.point("store.desired.done")
        return desired and replace(desired, now=self.world.now)

    async def claim(self, host: str, agent: str) -> str:
        await self.world.point("store.claim")
        self._up()
        row = self.hosts.get(host)
        if row is None:
            raise NotFound(f"The environment has no host {host}.")
        holder, rival = claim(row, agent, self.environment.policy.host_silence_s, self.world.now)
        if holder != row.holder and self.claims is not None:
            self.claims(row, holder)
        self.hosts[host] = replace(row, holder=holder, rival=rival)
        self._desired.pop(host, None)
        await self.world.point("store.claim.done")
        return holder

    async def tell(self, events: tuple[tuple[str, str], ...]) -> None:
        await self.world.point("store.tell")
        self._up()
        self.events.extend(events)

    def _theirs(self, row: HostRow, report: HostReport) -> bool:
        return row.holder not in ("", report.agent_id)

    async def report(self, report: HostReport) -> bool:
        await self.world.point("store.report")
        self._up()
        row = self.hosts.get(report.host)
        changed = False
        if row is not None and not self._theirs(row, report):
            merged = bool(report.jobs) and self._merge(report)
            if report.host in self.newer:
                report = newer(report)
            changed = self._said(report) or merged
            differs = row.report is not report and row.report != report
            changed |= differs and _news(row.report) != _news(report)
            self.hosts[row.name] = HostRow(
                row.name,
                row.desired_version,
                row.images,
                report if differs else row.report,
                row.report_version + changed,
                self.world.now,
                row.agent,
                row.drained,
                row.behind,
                row.unread,
                row.holder,
                row.rival,
            )
        await self.world.point("store.report.done")
        return changed

    def snapshot(self) -> Snapshot:
        """What `observe` would return now."""
        if self._goals is None:
            self._goals = tuple(self.slots[key] for key in sorted(self.slots))
        return Snapshot(
            self.world.now,
            self.environment,
            self._active(),
            self._goals,
            tuple(map(self._read, self.hosts.values()) if self._raw else self.hosts.values()),
            self.table,
            self._jobs() if self.jobs else (),
            self.schema,
            led_at=self.led_at,
            retired=self.retired,
            lost_edges=self.lost_edges,
        )

    def _said(self, report: HostReport) -> bool:
        """Keep as text what only another program can have said; true when it is news."""
        before = self._raw.pop(report.host, None)
        if type(report) is HostReport:
            return before is not None
        said = self._raw[report.host] = msgspec.json.encode(report)
        return said != before

    def unread(self) -> set[str]:
        """The hosts whose last report nobody here can read."""
        told = {name: decoding.read_report(raw) for name, raw in self._raw.items()}
        return {name for name, said in told.items() if isinstance(said, Unread)}

    def _read(self, row: HostRow) -> HostRow:
        if row.name not in self._raw:
            return row
        told = decoding.read_report(self._raw[row.name])
        if isinstance(told, Unread):
            return replace(row, report=None, unread=told)
        return replace(row, report=told)

    def _up(self) -> None:
        if self.down:
            raise StoreUnavailable("PostgreSQL did not answer: it is down.")

    def _active(self) -> Rollout | None:
        return self.rollout if self.rollout is not None and self.rollout.active else None

    def _jobs(self) -> tuple[Job, ...]:
        active = self._active()
        if active is None:
            return ()
        prefix = f"{active.id}/"
        ours = (key for key in self.jobs if key.startswith(prefix))
        return tuple(self.jobs[key] for key in sorted(ours, key=_attempt))

    def _fence(self, epoch: int, holder: str) -> None:
        if (epoch, holder) != (self.issued, self.holder):
            raise Fenced(f"Epoch {epoch} is outdated.")

    def _refuse_outdated(self, seen: Snapshot, changes: Changes) -> None:
        if abs(self.world.now - seen.now) > LOOK_VALID_S:
            raise Stale("The look is too old.")
        if seen.environment.version != self.environment.version:
            raise Stale("The environment's policy has changed.")
        active = self._active()
        if (active and (active.id, active.version)) != (
            seen.rollout and (seen.rollout.id, seen.rollout.version)
        ):
            raise Stale("The active rollout has changed.")
        if changes.rollout is not None and (active is None or active.id != changes.rollout.id):
            raise Stale("The rollout is not the active one.")
        if seen.table.revision != self.table.revision:
            raise Stale("The routing table has changed.")
        if len(seen.hosts) != len(self.hosts) or any(map(self._moved, seen.hosts)):
            raise Stale("A host has changed.")

    def _moved(self, seen: HostRow) -> bool:
        row = self.hosts.get(seen.name)
        return row is not seen and (
            row is None
            or row.report_version != seen.report_version
            or row.desired_version != seen.desired_version
        )

    def _write(self, changes: Changes) -> None:
        images, agents = dict(changes.images), dict(changes.agents)
        behind = dict(changes.behind)
        touched = images.keys() | agents.keys() | behind.keys()
        for goal in changes.slots:
            self.slots[goal.host, goal.slot] = goal
            touched.add(goal.host)
        for key in changes.freed:
            self.slots.pop(key, None)
            touched.add(key[0])
        for job in changes.jobs:
            self.jobs[job.id] = job
            touched.add(job.host)
        for name in touched & self.hosts.keys():
            row = self.hosts[name]
            self.hosts[name] = HostRow(
                name,
                row.desired_version + 1,
                images.get(name, row.images),
                row.report,
                row.report_version,
                row.seen_at,
                agents.get(name, row.agent),
                row.drained,
                behind.get(name, row.behind),
                row.unread,
                row.holder,
                row.rival,
            )
        if changes.slots or changes.freed:
            self._goals = None
        if changes.table is not None:
            self.table = changes.table
        if changes.lost_edges is not None:
            self.lost_edges = changes.lost_edges
        if changes.rollout is not None and self.rollout is not None:
            self.rollout = replace(changes.rollout, version=self.rollout.version + 1)
        if changes.detail is not None and self.rollout is not None and self.rollout.blocker:
            blocker = replace(self.rollout.blocker, detail=changes.detail)
            self.rollout = replace(self.rollout, blocker=blocker)
        if changes.held is not None:
            current, previous = changes.held
            self.environment = replace(self.environment, current=current, previous=previous)
        self.events.extend(changes.events)
        self._desired.clear()

    def _desired_of(self, row: HostRow) -> HostDesired:
        active = self._active()
        return HostDesired(
            host=row.name,
            epoch=self.issued,
            version=row.desired_version,
            policy=self.environment.policy if active is None else active.policy,
            slots=tuple(self.slots[key] for key in sorted(self.slots) if key[0] == row.name),
            images=row.images,
            jobs=tuple(
                job for job in self._jobs() if job.host == row.name and job.state not in ENDED
            ),
            protocol=self.protocol,
            holder=row.holder,
            secret=self.secret,
            agent=row.agent if active is not None and self._asked(row, active) else None,
        )

    def _asked(self, row: HostRow, active: Rollout) -> bool:
        verifying = active.state is State.VERIFYING
        return verifying and row.agent is not None and row.agent.since >= active.state_since

    def _merge(self, report: HostReport) -> bool:
        merged = False
        for said in report.jobs:
            job = self.jobs.get(said.id)
            if job is None or job.host != report.host or job.state in ENDED:
                continue
            if said.state not in KNOWN:
                continue
            if job.state is not said.state or job.detail != said.detail:
                self.jobs[job.id] = replace(job, state=said.state, detail=said.detail)
                self._desired.clear()
                merged |= job.state is not said.state
        return merged


def _attempt(job: str) -> tuple[int, str]:
    return int(re.split(r"[/-]", job)[-1]), job


def _news(report: HostReport | None) -> HostReport | None:
    """All but how far pulls have come and what runs say."""
    jobs = tuple(replace(j, detail="") for j in report.jobs) if report else ()
    return report and replace(report, pulls=(), jobs=jobs)
