"""Builders for what operators store, and a leader's hand for tests that need rollouts to move."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.commands import Command
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.model import Kind, Policy, Release, Rollout, State, enter
from controlplane.domain.policy import Draft
from controlplane.domain.records import Changes
from controlplane.ports.ledger import Order, Start

ENVIRONMENT = "local"
EDGE = "http://127.0.0.1:8080"


def a_draft(**changes: object) -> Draft:
    base = Draft(ENVIRONMENT, ("host-a", "host-b"), (EDGE,), Policy())
    return replace(base, **changes)  # type: ignore[arg-type]  # any field may be given


def a_release(version: str, fill: str | None = None) -> Release:
    digest = "sha256:" + (fill or f"{sum(version.encode()):x}").rjust(64, "0")
    return Release(version, digest, f"/srv/{version}.zip", "abc", "0002", "0001", "")


def a_start(version: str | None = "1.0.0", **changes: object) -> Start:
    base = Start(ENVIRONMENT, Kind.DEPLOY, version, "alice")
    return replace(base, **changes)  # type: ignore[arg-type]  # any field may be given


def an_order(rollout: Rollout, command: Command, **changes: object) -> Order:
    base = Order(rollout.id, command, "alice")
    return replace(base, **changes)  # type: ignore[arg-type]  # any field may be given


async def furnish(ledger: PostgresLedger, *versions: str) -> None:
    """An environment and releases."""
    await ledger.apply(a_draft(), "alice")
    for version in versions:
        await ledger.add_release(a_release(version), "alice")


async def lead(
    engine: AsyncEngine, state: State, cause: str = "", environment: str = ENVIRONMENT
) -> Rollout:
    """Bring the active rollout into a state, as its leader would."""
    store = PostgresStore(engine, environment)
    epoch = await store.epoch()
    if epoch == 0:
        assert await store.claim_epoch("test", 0)
        epoch = 1
    seen = await store.observe()
    assert seen.rollout is not None
    after = enter(seen.rollout, state, seen.now, cause)
    # After a rollback by command nothing is noted that one could go back to.
    previous = seen.environment.current if after.kind is Kind.DEPLOY else None
    held = (after.target, previous) if state is State.SUCCEEDED else None
    await store.commit(
        epoch, "test", seen, Changes(rollout=after, held=held, events=(("state", cause),))
    )
    return after


async def deployed(ledger: PostgresLedger, engine: AsyncEngine, version: str) -> Rollout:
    """A finished rollout to a version."""
    await ledger.start(a_start(version))
    return await lead(engine, State.SUCCEEDED)


async def progressing(ledger: PostgresLedger, engine: AsyncEngine) -> Rollout:
    """A first rollout, half way."""
    await furnish(ledger, "1.0.0")
    await ledger.start(a_start())
    await lead(engine, State.PROGRESSING)
    return (await ledger.rollouts(ENVIRONMENT, 1))[0]


async def occupy(engine: AsyncEngine, host: str, version: str = "1.0.0") -> None:
    """Slot 0 of a host is to run a version."""
    store = PostgresStore(engine, ENVIRONMENT)
    await store.claim_epoch("test", 0)
    seen = await store.observe()
    slot = SlotGoal(host, 0, a_release(version), Goal.RUN, seen.now)
    await store.commit(1, "test", seen, Changes(slots=(slot,)))
