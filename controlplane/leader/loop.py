"""The leader's story: hold the lease, look, plan, act, record; and look again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from controlplane.domain.actions import Plan
from controlplane.domain.changes import changes
from controlplane.domain.errors import BrokenInvariant, Fenced, Stale
from controlplane.domain.fleet import Fleet
from controlplane.domain.invariants import broken
from controlplane.domain.look import look
from controlplane.domain.model import State
from controlplane.domain.planner import plan, settle
from controlplane.domain.records import Changes, Snapshot
from controlplane.domain.routing import EdgeReading
from controlplane.leader.edges import EdgeWatch
from controlplane.leader.tenure import Tenure
from controlplane.ports.bus import Bus
from controlplane.ports.routing import Routing
from controlplane.ports.store import Store

log = structlog.get_logger(__name__)

FOLLOW_S = 0.5
LOOK_S = 1.0
# While an edge is followed; one that has not come along after so many looks is down or stuck.
SOON_S = 0.05
SOON_LOOKS = 40
AT_ONCE_S = 0.0


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
    watch: EdgeWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = EdgeWatch(self.tenure.clock)

    async def tick(self) -> float:
        """One look and at most one step. Returns the seconds until the next look.

        Raises Unavailable when PostgreSQL or Redis does not answer, BrokenInvariant for a plan
        that must not be carried out.
        """
        if self.abstains():
            await self.tenure.step_down()
            return FOLLOW_S
        if self.tenure.safe_epoch() is None:
            await self.tenure.step_down()
            if not await self.tenure.campaign():
                return FOLLOW_S
            self.watch.reset()
        try:
            return await self._step()
        except Fenced:
            await self.tenure.step_down()
            return FOLLOW_S
        except Stale:
            return AT_ONCE_S

    async def _step(self) -> float:
        seen = await self.store.observe()
        await self._publish(seen)
        readings = await self._readings(seen)
        fleet = look(seen, readings, self.tenure.host)
        decided = decide(seen, fleet)
        step = changes(seen, fleet, decided)
        if step is not None:
            await self._record(seen, fleet, decided, step)
            if step.moves:
                return AT_ONCE_S
        self.followed = 0 if fleet.confirmed else self.followed + 1
        if 0 < self.followed <= SOON_LOOKS:
            return SOON_S
        wake = decided.wake_at - seen.now if decided.wake_at is not None else LOOK_S
        return max(SOON_S, min(wake, LOOK_S))

    async def _publish(self, seen: Snapshot) -> None:
        """The edges' store says what the truth says; an emptied one is seeded again."""
        published = await self.routing.published()
        if published == seen.table.revision:
            return
        await self.routing.publish(seen.table, self._epoch(), seen.environment.route)

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
        if seen.rollout is not None and (names := broken(seen.rollout, fleet, decided)):
            raise BrokenInvariant(f"The plan would break {', '.join(names)}: {decided.reason}")
        await self.store.commit(self._epoch(), seen, step)
        touched = {s.host for s in step.slots} | {h for h, _ in step.freed}
        touched |= {h for h, _ in step.images} | {j.host for j in step.jobs}
        touched |= {h for h, _ in step.agents}
        await self.bus.nudge("events", *(f"host:{h}" for h in sorted(touched)))

    def _epoch(self) -> int:
        epoch = self.tenure.safe_epoch()
        if epoch is None:
            raise Fenced("The lease was not renewed in time.")
        return epoch


def decide(seen: Snapshot, fleet: Fleet) -> Plan:
    """The plan of the active rollout, or what must be tended while there is none."""
    if seen.rollout is not None:
        return plan(seen.rollout, fleet, seen.rollout.policy, seen.now)
    return Plan(settle(fleet), State.SUCCEEDED, "No rollout is active.")
