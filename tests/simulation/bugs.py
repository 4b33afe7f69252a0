"""Bugs that must not survive 20,000 seeds: the simulator's own test.

Each replaces one decision of production code by the wrong one while it is planted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controlplane.agent import status
from controlplane.agent.loop import Agent
from controlplane.domain import look as look_module
from controlplane.domain.bounds import Bounds
from controlplane.domain.errors import Stale
from controlplane.domain.fleet import Fleet
from controlplane.domain.strategies import rolling
from controlplane.leader.loop import Leader
from controlplane.leader.tenure import Tenure
from tests.fakes.routing import FakeRouting
from tests.fakes.store import FakeStore

Patch = tuple[Any, str, Any]


def _no_epoch_check() -> list[Patch]:
    """Nobody compares epochs: not the store, not the routing script."""
    return [
        (FakeStore, "_fence", lambda self, epoch: None),
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
