"""What monitoring is told of rollouts and hosts: the same truth from every instance."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from controlplane.domain.errors import ControlError
from controlplane.domain.model import TERMINAL, State
from controlplane.domain.records import Snapshot
from controlplane.router.control import Control

# A scrape that waits longer than this for PostgreSQL goes without these figures.
LIMIT_S = 0.5


class Figure(NamedTuple):
    """One number under its labels; figures of one name have the same text and label names."""

    name: str
    text: str
    labels: dict[str, str]
    value: float


async def figures(control: Control) -> tuple[Figure, ...]:
    """All figures; only that they are missing when the truth cannot be read in time."""
    try:
        async with asyncio.timeout(LIMIT_S):
            rows = await control.ledger.environments()
            seen = [await control.store(row.environment.name).observe() for row in rows]
    except (ControlError, TimeoutError):
        return (_readable(0),)
    return (_readable(1), *(figure for snapshot in seen for figure in _of(snapshot)))


def _readable(value: float) -> Figure:
    text = "1 when rollouts and hosts could be read for this scrape."
    return Figure("camp_control_plane_readable", text, {}, value)


def _of(snapshot: Snapshot) -> Iterator[Figure]:
    environment = {"environment": snapshot.environment.name}
    for host in snapshot.hosts:
        if host.report is not None or host.unread is not None:
            yield Figure(
                "camp_agent_silent_seconds",
                "Since the host's agent reported last.",
                environment | {"host": host.name},
                max(0.0, snapshot.now - host.seen_at),
            )
            yield Figure(
                "camp_agent_unread",
                "1 when the host's agent reports what this release cannot read.",
                environment | {"host": host.name},
                float(host.unread is not None),
            )
    rollout = snapshot.rollout
    for state in (state for state in State if state not in TERMINAL):
        active = rollout is not None and rollout.state is state
        yield Figure(
            "camp_rollout_active",
            "1 for the state of the active rollout, if there is one.",
            environment | {"state": state.value},
            float(active),
        )
    blocker = None if rollout is None else rollout.blocker
    yield Figure(
        "camp_rollout_blocked_seconds",
        "Since when the active rollout waits for the same thing; 0 when it moves.",
        environment,
        0.0 if blocker is None else max(0.0, snapshot.now - blocker.since),
    )
