"""What operators do when a host or a part of the truth is lost for good."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.errors import Conflict, NotFound, Stale
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.records import Changes
from controlplane.domain.reports import HostReport
from controlplane.domain.routing import Member, Published, Table
from controlplane.domain.truth import beyond
from tests.ledgers import ENVIRONMENT, a_draft, a_release, furnish


@pytest.fixture
async def ledger(engine: AsyncEngine) -> PostgresLedger:
    ledger = PostgresLedger(engine)
    await furnish(ledger, "1.0.0")
    return ledger


@pytest.fixture
def store(engine: AsyncEngine) -> PostgresStore:
    return PostgresStore(engine, ENVIRONMENT)


async def running(store: PostgresStore) -> None:
    """Both hosts carry an admitted instance, by the leader of epoch 1."""
    assert await store.claim_epoch("test", 0)
    seen = await store.observe()
    goals = tuple(
        SlotGoal(host, 1, a_release("1.0.0"), Goal.RUN, seen.now) for host in ("host-a", "host-b")
    )
    members = frozenset(Member(g.host, 1, f"{g.host}:1") for g in goals)
    await store.commit(1, "test", seen, Changes(slots=goals, table=Table(1, members)))


async def fallen_silent(engine: AsyncEngine, host: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE hosts SET seen_at = clock_timestamp() - interval '1 min' WHERE name = :h"),
            {"h": host},
        )


async def test_accepted_truth_is_above_everything_that_others_know(
    ledger: PostgresLedger, store: PostgresStore
) -> None:
    await running(store)
    await store.report(HostReport("host-a", epoch=9, desired_version=1))
    now = await ledger.accept_truth(ENVIRONMENT, Published(7, 41), "alice", "restored")
    assert now == beyond(9, 41)
    assert await store.epoch() == now.epoch > 9
    assert (await store.observe()).table.revision == now.revision > 41


async def test_truth_that_did_not_go_back_needs_no_acceptance(
    ledger: PostgresLedger, store: PostgresStore
) -> None:
    await running(store)
    with pytest.raises(Conflict, match="not behind"):
        await ledger.accept_truth(ENVIRONMENT, Published(1, 1), "alice", "")


async def test_acceptance_and_its_reason_are_on_record(
    ledger: PostgresLedger, store: PostgresStore
) -> None:
    await running(store)
    await ledger.accept_truth(ENVIRONMENT, Published(7, 41), "alice", "restored 9:00")
    (event,) = [e for e in await ledger.events(0, ENVIRONMENT, None, 50) if e.kind == "truth"]
    assert dict(event.data) == {"actor": "alice", "reason": "restored 9:00"}


async def test_leader_that_looked_before_a_host_was_drained_writes_nothing(
    ledger: PostgresLedger, store: PostgresStore
) -> None:
    await running(store)
    seen = await store.observe()
    assert await ledger.drain_host(ENVIRONMENT, "host-a", "alice", "", drained=True)
    with pytest.raises(Stale):
        await store.commit(1, "test", seen, Changes(events=(("x", "y"),)))
    assert [h.drained for h in (await store.observe()).hosts] == [True, False]


async def test_draining_twice_changes_nothing_and_a_released_host_catches_up(
    ledger: PostgresLedger, store: PostgresStore
) -> None:
    assert await ledger.drain_host(ENVIRONMENT, "host-a", "alice", "", drained=True)
    assert not await ledger.drain_host(ENVIRONMENT, "host-a", "alice", "", drained=True)
    assert await ledger.drain_host(ENVIRONMENT, "host-a", "alice", "", drained=False)
    row = (await store.observe()).hosts[0]
    assert (row.drained, row.behind) == (False, True)


async def test_last_host_that_carries_instances_is_not_drained(ledger: PostgresLedger) -> None:
    await ledger.drain_host(ENVIRONMENT, "host-a", "alice", "", drained=True)
    with pytest.raises(Conflict, match="last host"):
        await ledger.drain_host(ENVIRONMENT, "host-b", "alice", "", drained=True)


async def test_host_that_speaks_is_not_forgotten(
    ledger: PostgresLedger, store: PostgresStore
) -> None:
    await store.report(HostReport("host-a", 1, 1))
    with pytest.raises(Conflict, match="speaks"):
        await ledger.forget_host(ENVIRONMENT, "host-a", "alice", "")


async def test_forgotten_host_leaves_nothing_behind_and_the_others_as_they_are(
    ledger: PostgresLedger, store: PostgresStore, engine: AsyncEngine
) -> None:
    await running(store)
    await store.report(HostReport("host-a", 1, 1))
    await fallen_silent(engine, "host-a")
    await ledger.forget_host(ENVIRONMENT, "host-a", "alice", "burnt")
    seen = await store.observe()
    assert seen.environment.hosts == ("host-b",)
    assert [h.name for h in seen.hosts] == ["host-b"]
    assert [g.host for g in seen.slots] == ["host-b"]
    assert (seen.table.revision, {m.host for m in seen.table.members}) == (2, {"host-b"})
    assert not await ledger.apply(a_draft(hosts=("host-b",)), "alice")


async def test_unknown_hosts_and_environments_are_named(ledger: PostgresLedger) -> None:
    with pytest.raises(NotFound, match="host-z"):
        await ledger.forget_host(ENVIRONMENT, "host-z", "alice", "")
    with pytest.raises(NotFound, match="nowhere"):
        await ledger.accept_truth("nowhere", Published(1, 1), "alice", "")


async def test_new_environment_begins_above_what_is_left_of_an_earlier_one(
    engine: AsyncEngine,
) -> None:
    await PostgresLedger(engine).apply(a_draft(name="again"), "alice", Published(7, 41))
    store = PostgresStore(engine, "again")
    assert await store.epoch() == 7
    assert (await store.observe()).table.revision == 41
