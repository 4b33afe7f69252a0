"""Bugs that must not survive 20,000 seeds: the simulator's own test.

Each replaces one decision of production code by the wrong one while it is planted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec

from controlplane.adapters.postgres import decoding
from controlplane.agent import status
from controlplane.agent.loop import Agent
from controlplane.domain import look as look_module
from controlplane.domain import planner
from controlplane.domain.bounds import Bounds
from controlplane.domain.errors import Stale
from controlplane.domain.fleet import Fleet
from controlplane.domain.model import Rollout
from controlplane.domain.records import HostRow
from controlplane.domain.reports import HostReport
from controlplane.domain.strategies import rolling
from controlplane.leader.loop import Leader
from controlplane.leader.tenure import Tenure
from tests.fakes.routing import FakeRouting
from tests.fakes.store import FakeStore

Patch = tuple[Any, str, Any]


def _no_epoch_check() -> list[Patch]:
    """Nobody compares epochs: not the store, not the routing script."""
    return [
        (FakeStore, "_fence", lambda self, epoch, holder: None),
        (FakeRouting, "_fence", lambda self, table, epoch: None),
    ]


def _stop_before_confirmed() -> list[Patch]:
    """A withdrawal is believed as soon as it is written."""
    return [(look_module, "_unconfirmed", lambda table, readings: ())]


def _admit_any_version() -> list[Patch]:
    """Ready is ready, whoever answers."""
    return [(status, "matches", lambda answered, spec: answered is not None)]


def _ignore_down() -> list[Patch]:
    """The batch is counted from what is in the table, not from what of it is up."""

    def spare(fleet: Fleet, limits: Bounds) -> int:
        return len(fleet.table.members) - limits.min_available

    return [
        (rolling, "spare", spare),
        ("controlplane.domain.invariants", "i1_capacity", lambda *_: True),
    ]


def _resume_old_plan() -> list[Patch]:
    """A leader whose write was refused takes fresh numbers and writes its old plan again."""
    record = Leader._record

    async def stubborn(self: Leader, seen: Any, fleet: Fleet, decided: Any, step: Any) -> None:
        try:
            await record(self, seen, fleet, decided, step)
        except Stale:
            fresh = await self.store.observe()
            await record(self, fresh, fleet, decided, step)

    return [
        (Leader, "_record", stubborn),
        (Tenure, "safe_epoch", lambda self: self.epoch),
    ]


def _lease_without_proof() -> list[Patch]:
    """The lease is renewed whether steps succeed or not."""
    return [
        ("controlplane.leader.tenure", "PROOF_S", math.inf),
        ("controlplane.leader.loop", "FAILURES", math.inf),
    ]


def _believe_what_went_back() -> list[Patch]:
    """Nobody compares what PostgreSQL says with what others know of it."""
    return [("controlplane.leader.loop", "took_back", lambda *_: "")]


def _judge_in_an_outage() -> list[Patch]:
    """Whoever fails is to blame, whoever else fails as well."""
    return [("controlplane.domain.gates.verdict", "_old_fail_alike", lambda *_: False)]


def _count_time_without_leader() -> list[Patch]:
    """Deadlines run while nobody could have moved anything."""

    def same(rollout: Rollout, *_: float) -> Rollout:
        return rollout

    return [
        ("controlplane.domain.changes", "credited", same),
        ("controlplane.leader.loop", "credited", same),
    ]


def _read_strictly() -> list[Patch]:
    """One report that cannot be read, and nothing can be."""

    def strict(raw: bytes) -> HostReport:
        return msgspec.json.decode(raw, type=HostReport)

    return [(decoding, "read_report", strict)]


def _unread_is_empty() -> list[Patch]:
    """A report that cannot be read is one that says nothing: its instances are gone."""
    read = FakeStore._read

    def blank(self: FakeStore, row: HostRow) -> HostRow:
        told = read(self, row)
        if told.unread is None:
            return told
        return replace(told, unread=None, report=HostReport(row.name, 0, row.desired_version))

    return [(FakeStore, "_read", blank)]


def _readmit_needs_all_edges() -> list[Patch]:
    """What is healthy waits for every edge before it may serve again."""
    readmit = rolling.readmit
    return [
        (planner, "readmit", lambda fleet: readmit(fleet) if fleet.confirmed else ()),
        (Fleet, "held_by_edge", property(lambda fleet: False)),
    ]


def _two_agents_of_one_name() -> list[Patch]:
    """Whoever has the host's name works for it, and every report is taken."""

    async def own(self: Agent, desired: Any) -> None:
        self.refused = False

    return [(Agent, "_own", own), (FakeStore, "_theirs", lambda self, row, report: False)]


def _host_taken_at_once() -> list[Patch]:
    """Who asks for a host has it."""
    return [("tests.fakes.store", "claim", lambda row, agent, silence_s, now: (agent, None))]


def _restart_that_renews_nothing() -> list[Patch]:
    """What runs the release already is good enough, also when it was to be started anew."""
    return [(look_module, "_renewed", lambda instance, *_: instance)]


BUGS: dict[str, Callable[[], list[Patch]]] = {
    "no-epoch-check": _no_epoch_check,
    "stop-before-confirmed": _stop_before_confirmed,
    "admit-any-version": _admit_any_version,
    "ignore-down": _ignore_down,
    "resume-old-plan": _resume_old_plan,
    "lease-without-proof": _lease_without_proof,
    "believe-what-went-back": _believe_what_went_back,
    "judge-in-an-outage": _judge_in_an_outage,
    "count-time-without-leader": _count_time_without_leader,
    "read-strictly": _read_strictly,
    "unread-is-empty": _unread_is_empty,
    "readmit-needs-all-edges": _readmit_needs_all_edges,
    "two-agents-of-one-name": _two_agents_of_one_name,
    "host-taken-at-once": _host_taken_at_once,
    "restart-that-renews-nothing": _restart_that_renews_nothing,
}


@contextmanager
def plant(name: str | None) -> Iterator[None]:
    """The bug of that name for as long as the context lasts; none for None."""
    patches = BUGS[name]() if name else []
    undo = []
    for target, attribute, value in patches:
        owner = _module(target) if isinstance(target, str) else target
        undo.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in undo:
            setattr(owner, attribute, value)


def _module(name: str) -> Any:
    import importlib

    return importlib.import_module(name)
