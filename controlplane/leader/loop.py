"""The leader's story: hold the lease, look, plan, act, record; and look again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from controlplane.domain.actions import Plan
from controlplane.domain.changes import changes, credited
from controlplane.domain.errors import (
    BrokenInvariant,
    BusUnavailable,
    ControlError,
    Fenced,
    Stale,
    TruthWentBack,
    Unavailable,
)
from controlplane.domain.fleet import Fleet
from controlplane.domain.invariants import broken
from controlplane.domain.look import look
from controlplane.domain.model import State
from controlplane.domain.planner import keep, plan
from controlplane.domain.records import Changes, Snapshot
from controlplane.domain.routing import EdgeReading, Published
from controlplane.domain.truth import latest, took_back
from controlplane.leader.edges import EdgeWatch
from controlplane.leader.tenure import Tenure
from controlplane.ports.bus import Bus
from controlplane.ports.lease import Reason
from controlplane.ports.routing import Routing
from controlplane.ports.store import Store

log = structlog.get_logger(__name__)

FOLLOW_S = 0.5
LOOK_S = 1.0
# While an edge is followed; one that has not come along after so many looks is down or stuck.
SOON_S = 0.05
SOON_LOOKS = 40
AT_ONCE_S = 0.0
# A step that fails the same way this often in a row will not succeed here by trying again.
FAILURES = 3
# A candidate that cannot lead says so again each second or so.
REASON_TTL_S = 15.0
# Looks that were outdated by the time of their commit, in a row.
MANY_STALE = 60
NOTED_STALE = 4
# How often it is noted that somebody leads; time without a leader is told from longer gaps.
NOTE_S = 4.0


@dataclass(slots=True)
class Leader:
    """One candidate; the same program runs on every host and at most one has effect."""

    tenure: Tenure
    store: Store
    routing: Routing
    bus: Bus
    # An agent that is being replaced leaves the lead to one that is not.
    abstains: Callable[[], bool] = lambda: False
    followed: int = 0
    stale: int = 0
    failure: Exception | None = None
    failures: int = 0
    watch: EdgeWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = EdgeWatch(self.tenure.clock)

    async def tick(self) -> float:
        """One look and at most one step. Returns the seconds until the next look.

        Raises Unavailable when PostgreSQL or Redis does not answer, BrokenInvariant for a plan
        that must not be carried out, TruthWentBack while PostgreSQL is not to be built on.
        """
        if self.abstains():
            await self.tenure.step_down()
            return FOLLOW_S
        if self.tenure.safe_epoch() is None:
            await self._renounce()
            if not await self.tenure.campaign(self._vouch):
                return FOLLOW_S
            self.watch.reset()
        try:
            wait_s = await self._step()
        except Fenced:
            await self.tenure.step_down()
            return FOLLOW_S
        except Stale as error:
            try:
                return await self._outrun(error)
            except Fenced:
                await self.tenure.step_down()
                return FOLLOW_S
        except TruthWentBack as error:
            await self._say(error)
            await self.tenure.step_down()
            raise
        except Exception as error:
            await self._failed(error)
            raise
        self.tenure.completed()
        self.stale, self.failure, self.failures = 0, None, 0
        return wait_s

    async def _step(self) -> float:
        published, seen = await self._known()
        await self._require_truth(published, seen)
        await self._publish(published, seen)
        readings = await self._readings(seen)
        fleet = look(seen, readings, self.tenure.host)
        decided = decide(seen, fleet)
        step = changes(seen, fleet, decided)
        if step is not None:
            await self._record(seen, fleet, decided, step)
            if step.moves:
                return AT_ONCE_S
        elif seen.now - seen.led_at > NOTE_S:
            await self._note()
        self.followed = 0 if fleet.confirmed else self.followed + 1
        if 0 < self.followed <= SOON_LOOKS:
            return SOON_S
        wake = decided.wake_at - seen.now if decided.wake_at is not None else LOOK_S
        return max(SOON_S, min(wake, LOOK_S))

    async def _vouch(self) -> int:
        """The epoch issued last; raises TruthWentBack when it is not to be built on.

        Asked before a new one is issued, or candidates would raise it until it looked new enough.
        """
        published, seen = await self._known()
        # Last, so that what others knew before it was issued by then.
        issued = await self.store.epoch()
        if sentence := took_back(seen, issued, published):
            error = TruthWentBack(sentence)
            await self._say(error)
            raise error
        return issued

    async def _known(self) -> tuple[Published | None, Snapshot]:
        """What others know of the table, and then what PostgreSQL says.

        In this order whatever was published before the look is in it, unless the truth went back.
        """
        published = await self.routing.published()
        seen = await self.store.observe()
        if published is None and seen.led_at:
            # Redis was emptied, and with it what it knew; the edges still serve their last table.
            published = latest(await self.routing.readings(seen.environment.edges))
        return published, seen

    async def _require_truth(self, published: Published | None, seen: Snapshot) -> None:
        """Nothing is decided on a PostgreSQL that has forgotten what it said."""
        mine = self._epoch()
        sentence = took_back(seen, mine, published)
        if sentence:
            # A newer leader may be the reason as well; then it is we who are outdated.
            if await self.store.epoch() > mine:
                raise Fenced("A newer leader exists.")
            raise TruthWentBack(sentence)

    async def _publish(self, published: Published | None, seen: Snapshot) -> None:
        """The edges' store says what the truth says; an emptied one is seeded again.

        Each leader writes its epoch there once, so that a truth that went back is noticed.
        """
        epoch = self._epoch()
        if published != Published(epoch, seen.table.revision):
            await self.routing.publish(seen.table, epoch, seen.environment.route)

    async def _readings(self, seen: Snapshot) -> tuple[EdgeReading, ...]:
        """What the edges say, and how long it has been wrong; those that lag are woken."""
        if self.watch.cause is None:
            await self._ask_cause()
        found = await self.routing.readings(seen.environment.edges)
        readings = self.watch.timed(found, seen.table)
        if self.watch.due(readings):
            await self._ask_cause()
            await self.routing.publish(seen.table, self._epoch(), seen.environment.route)
            await self.routing.touch(seen.environment.route)
        return readings

    async def _ask_cause(self) -> None:
        before, self.watch.cause = self.watch.cause, await self.routing.lacking()
        if self.watch.cause and self.watch.cause != before:
            log.warning("edges_hear_nothing", detail=self.watch.cause)

    async def _record(self, seen: Snapshot, fleet: Fleet, decided: Plan, step: Changes) -> None:
        """Write the step and wake the hosts it concerns."""
        policy = (seen.rollout or seen.environment).policy
        if names := broken(seen.rollout, policy, fleet, decided):
            raise BrokenInvariant(f"The plan would break {', '.join(names)}: {decided.reason}")
        await self.store.commit(self._epoch(), self.tenure.holder, seen, step)
        touched = {s.host for s in step.slots} | {h for h, _ in step.freed}
        touched |= {h for h, _ in step.images} | {j.host for j in step.jobs}
        touched |= {h for h, _ in step.agents}
        await self.bus.nudge("events", *(f"host:{h}" for h in sorted(touched)))

    async def _note(self) -> None:
        """Somebody leads. Raises Fenced when PostgreSQL knows another epoch, later or earlier."""
        if not await self.store.led(self._epoch()):
            raise Fenced("PostgreSQL knows another epoch.")

    async def _outrun(self, error: Stale) -> float:
        """Somebody wrote since the look: look again, the first time at once, later less eagerly."""
        self.tenure.completed()
        self.stale += 1
        if self.stale % NOTED_STALE == 0:
            # It is led, although nothing comes of it: that is no time without a leader.
            await self._note()
        if self.stale > MANY_STALE:
            self.stale = 0
            await self._give_up(error)
        return AT_ONCE_S if self.stale == 1 else min(LOOK_S, SOON_S * self.stale)

    async def _failed(self, error: Exception) -> None:
        """Who fails the same way again and again lets somebody else try.

        Not without Redis: then the lease is lost by itself, and nobody else has one either.
        """
        if isinstance(error, BusUnavailable):
            return
        same = self.failure is not None and _said(self.failure) == _said(error)
        self.failure, self.failures = error, self.failures + 1 if same else 1
        if self.failures >= FAILURES:
            await self._give_up(error)

    async def _renounce(self) -> None:
        """The tenure is over; if that is because nothing succeeded, others come first."""
        if self.tenure.epoch is not None and self.failure is not None:
            await self._give_up(self.failure)
        await self.tenure.step_down()

    async def _give_up(self, error: Exception) -> None:
        await self._say(error)
        await self.tenure.abstain()
        self.failure, self.failures = None, 0

    async def _say(self, error: Exception) -> None:
        """Let operators know why this candidate does not lead; without Redis only the log does."""
        code = error.code if isinstance(error, ControlError) else "bug"
        log.warning("does_not_lead", holder=self.tenure.holder, code=code, detail=_said(error))
        with suppress(Unavailable):
            reason = Reason(self.tenure.holder, code, _said(error))
            await self.tenure.lease.give_reason(reason, REASON_TTL_S)

    def _epoch(self) -> int:
        epoch = self.tenure.safe_epoch()
        if epoch is None:
            raise Fenced("The lease was not renewed in time.")
        return epoch


def _said(error: Exception) -> str:
    return error.sentence if isinstance(error, ControlError) else repr(error)


def decide(seen: Snapshot, fleet: Fleet) -> Plan:
    """The plan of the active rollout, or what must be tended while there is none."""
    if seen.rollout is not None:
        rollout = credited(seen.rollout, seen.led_at, seen.now)
        return plan(rollout, fleet, rollout.policy, seen.now)
    environment = seen.environment
    actions = keep(fleet, environment.current, environment.policy)
    return Plan(actions, State.SUCCEEDED, "No rollout is active.")
