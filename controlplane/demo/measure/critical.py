"""How long a rollout had to take, measured in the same run.

What is inherent to replacing one instance is a chain; each part is measured from outside:

    start      process begun → it first answers ready
    settle     min_healthy_s of the policy
    admit      the leader's decision recorded → the edge uses the address
    withdraw   the leader's decision recorded → the edge no longer uses the old address
    drain      edge without the old address → the old one says that no stream and request is left
    stop       the leader's order to stop → the old process has ended

An instance that never becomes ready has start = start_deadline_s, and its own stop. The policy
lets `max_surge` chains run side by side (with max_unavailable 0). The chains are put, in the
order of their starts, on so many lanes, each on the one that is free first; the fullest lane is
what the replacement takes. To it come the migration (ordered → its result seen) and the bake.

Not inherent, so part of the rest: fetching the release, every look that an agent or the leader
takes before it acts, a dead leader's lease.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from controlplane.demo.measure.lifetimes import Lifetime
from controlplane.domain.bounds import bounds
from controlplane.domain.model import Policy, State
from controlplane.wire import EventView, RolloutView

CHAIN = ("start", "settle", "admit", "withdraw", "drain", "stop")


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """Seconds: the whole, its parts, each link's mean, and where the rest of the duration went."""

    duration_s: float
    total_s: float
    lanes: int
    chains: int
    parts: dict[str, float] = field(default_factory=dict)
    links: dict[str, float] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.duration_s / self.total_s if self.total_s else 0.0


def critical_path(
    rollout: RolloutView, events: Sequence[EventView], everyone: Sequence[Lifetime], hosts: int
) -> CriticalPath:
    """The critical path of a finished rollout; `events` are its own, oldest first."""
    policy, begun, ended = rollout.policy, rollout.created_at, rollout.state_since
    log = Log(events)
    new = [life for life in everyone if begun <= life.process.began_at <= ended]
    old = sorted(
        (life for life in everyone if life.unlisted_at and begun <= life.unlisted_at <= ended),
        key=lambda life: life.unlisted_at or 0.0,
    )
    limits = bounds(policy, hosts)
    present = limits.desired if rollout.source else 0
    lanes = max(1, min(limits.batch, limits.max_total - present))
    chains = list(_chains(new, old, policy, log))
    parts = {
        "migration": _span(log.first("migrates"), log.left(State.MIGRATING)),
        "replacement": schedule([sum(chain.values()) for chain in chains], lanes),
        "bake": policy.bake_s if rollout.state is State.SUCCEEDED else 0.0,
    }
    return CriticalPath(
        duration_s=ended - begun,
        total_s=sum(parts.values()),
        lanes=lanes,
        chains=len(chains),
        parts=parts,
        links={name: fmean(c[name] for c in chains) for name in CHAIN} if chains else {},
        waits=waits(begun, new, old, policy, log),
    )


def schedule(durations_s: Iterable[float], lanes: int) -> float:
    """When the last of these is done, each begun on the lane that is free first."""
    free_at = [0.0] * lanes
    for duration_s in durations_s:
        heapq.heapreplace(free_at, free_at[0] + duration_s)
    return max(free_at)


def waits(
    begun: float, new: list[Lifetime], old: list[Lifetime], policy: Policy, log: Log
) -> dict[str, float]:
    """Mean seconds between what was possible and what was done, for each step of a chain."""
    means = {
        "fetch and checks before": [_span(begun, log.entered(State.MIGRATING))],
        "order to start → process": [
            _span(log.last("start", life, life.process.began_at), life.process.began_at)
            for life in new
        ],
        "healthy → admission decided": [
            _span(life.ready_at + policy.min_healthy_s, log.next("admit", life, life.ready_at))
            for life in new
            if life.ready_at
        ],
        "edge without it → drain ordered": [
            _span(life.unlisted_at, log.next("drain", life, life.unlisted_at)) for life in old
        ],
        "idle → stop ordered": [
            _span(life.idle_at, log.next("stop", life, life.idle_at)) for life in old
        ],
        "process ended → slot free": [
            _span(life.gone_at, log.next("gone", life, life.gone_at)) for life in old
        ],
    }
    return {name: fmean(values) for name, values in means.items() if values}


class Log:
    """Finds the times of the leader's decisions in a rollout's events."""

    def __init__(self, events: Sequence[EventView]) -> None:
        self._events = events
        self._orders: dict[tuple[str, str], list[float]] = {}
        for event in events:
            for key in _orders(event):
                self._orders.setdefault(key, []).append(event.at)

    def next(self, verb: str, life: Lifetime, after: float | None) -> float | None:
        """The first decision about this instance at or after a time.

        A decision and what it was based on may be seen in one sample: half a second of grace.
        """
        times = self._orders.get((verb, life.process.instance), [])
        return next((t for t in times if after is not None and t >= after - 0.5), None)

    def last(self, verb: str, life: Lifetime, before: float | None) -> float | None:
        """The last decision about this instance before a time."""
        times = self._orders.get((verb, life.process.instance), [])
        return max((t for t in times if before is not None and t <= before), default=None)

    def first(self, word: str) -> float | None:
        return next((e.at for e in self._events if f" {word} " in e.message), None)

    def entered(self, state: State) -> float | None:
        """When a state was first reached."""
        return next((e.at for e in self._changes() if f" → {state}:" in e.message), None)

    def left(self, state: State) -> float | None:
        """When a state was first left."""
        return next((e.at for e in self._changes() if e.message.startswith(f"{state} →")), None)

    def _changes(self) -> Iterator[EventView]:
        return (event for event in self._events if event.kind == "state")


def _orders(event: EventView) -> Iterator[tuple[str, str]]:
    """(verb, host/slot) for everything that one event decided; see `domain/changes.py`."""
    verb, _, rest = event.message.partition(" ")
    if event.kind != "action":
        return
    if verb == "start":
        yield verb, rest.rpartition(" ")[2]
    elif verb in ("admit", "withdraw", "drain", "stop"):
        for instance in rest.split(", "):
            yield verb, instance
    elif event.message.endswith(" is gone"):
        yield "gone", verb


def _chains(
    new: list[Lifetime], old: list[Lifetime], policy: Policy, log: Log
) -> Iterator[dict[str, float]]:
    served = [life for life in new if life.listed_at]
    for number, life in enumerate(served):
        chain = {
            "start": _span(life.process.began_at, life.ready_at),
            "settle": policy.min_healthy_s,
            "admit": _span(log.last("admit", life, life.listed_at), life.listed_at),
            "withdraw": 0.0,
            "drain": 0.0,
            "stop": 0.0,
        }
        if number < len(old):
            gone = old[number]
            chain |= {
                "withdraw": _span(log.last("withdraw", gone, gone.unlisted_at), gone.unlisted_at),
                "drain": _span(gone.unlisted_at, gone.idle_at),
                "stop": _span(log.last("stop", gone, gone.gone_at), gone.gone_at),
            }
        yield chain
    for life in new:
        if not life.listed_at:
            stopped = _span(log.last("stop", life, life.gone_at), life.gone_at)
            yield dict.fromkeys(CHAIN, 0.0) | {"start": policy.start_deadline_s, "stop": stopped}


def _span(begin: float | None, end: float | None) -> float:
    return max(0.0, end - begin) if begin is not None and end is not None else 0.0
