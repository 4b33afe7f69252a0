"""What every ledger promises of environments."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.errors import (
    BusUnavailable,
    Conflict,
    NotFound,
)
from controlplane.domain.model import Policy, State
from controlplane.domain.records import Changes
from controlplane.domain.reports import HostReport, Phase, SlotReport
from controlplane.domain.route import Route
from tests.ledgers import (
    EDGE,
    ENVIRONMENT,
    a_draft,
    a_release,
    a_start,
    deployed,
    furnish,
    lead,
    occupy,
)


async def test_applying_the_same_environment_again_changes_nothing(ledger: PostgresLedger) -> None:
    assert await ledger.apply(a_draft(), "alice")
    assert not await ledger.apply(a_draft(), "bob")

    row = await ledger.environment(ENVIRONMENT)
    assert (row.environment.version, row.applied_by) == (1, "alice")


async def test_a_changed_policy_raises_the_version(ledger: PostgresLedger) -> None:
    await ledger.apply(a_draft(), "alice")
    assert await ledger.apply(a_draft(policy=Policy(max_surge=2)), "bob")

    row = await ledger.environment(ENVIRONMENT)
    assert (row.environment.version, row.applied_by) == (2, "bob")
    assert row.environment.policy.max_surge == 2


async def test_hosts_follow_the_environment(ledger: PostgresLedger, engine: AsyncEngine) -> None:
    await ledger.apply(a_draft(), "alice")
    await ledger.apply(a_draft(hosts=("host-b", "host-c")), "alice")

    seen = await PostgresStore(engine, ENVIRONMENT).observe()
    assert [row.name for row in seen.hosts] == ["host-b", "host-c"]


async def test_a_host_with_instances_cannot_be_removed(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    await occupy(engine, "host-a")

    with pytest.raises(Conflict, match="host-a still has instances"):
        await ledger.apply(a_draft(hosts=("host-b",)), "alice")


async def test_hosts_cannot_change_under_an_active_rollout(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0")
    rollout = await ledger.start(a_start())

    with pytest.raises(Conflict, match=rollout.id):
        await ledger.apply(a_draft(hosts=("host-a",)), "alice")
    assert await ledger.apply(a_draft(policy=Policy(max_surge=2)), "alice")


OTHER_EDGE = "http://127.0.0.1:8081"


async def test_a_lost_edge_may_be_taken_out_under_an_active_rollout(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await ledger.apply(a_draft(edges=(EDGE, OTHER_EDGE)), "alice")
    await ledger.add_release(a_release("1.0.0"), "alice")
    await ledger.start(a_start())
    await lead(engine, State.PREFLIGHT)
    without = a_draft(edges=(EDGE,))

    with pytest.raises(Conflict, match="edge may be taken out"):
        await ledger.apply(without, "alice")
    store = PostgresStore(engine, ENVIRONMENT)
    lost = Changes(lost_edges=frozenset({OTHER_EDGE}))
    await store.commit(1, "test", await store.observe(), lost)
    with pytest.raises(Conflict):
        await ledger.apply(a_draft(edges=(OTHER_EDGE,)), "alice")
    assert await ledger.apply(without, "alice")
    assert (await store.observe()).environment.edges == (EDGE,)


async def test_environments_that_could_take_the_same_requests_on_an_edge_are_refused(
    ledger: PostgresLedger,
) -> None:
    await ledger.apply(a_draft(), "alice")
    second = a_draft(name="second")
    with pytest.raises(Conflict, match=r"local .* could take the same requests on edge"):
        await ledger.apply(second, "alice")
    assert await ledger.apply(replace(second, edges=(OTHER_EDGE,)), "alice")
    with pytest.raises(Conflict, match=r"\[environments.second.route\]"):
        await ledger.apply(replace(second, route=Route(host="second.test")), "alice")
    assert await ledger.apply(replace(second, route=Route(entry_point="internal")), "alice")


async def test_of_two_that_collide_and_are_applied_at_once_one_is_refused(
    ledger: PostgresLedger,
) -> None:
    drafts = (a_draft(name="one"), a_draft(name="other"))
    outcomes = await asyncio.gather(
        *(ledger.apply(d, "alice") for d in drafts), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {bool, Conflict}


async def test_a_changed_route_is_a_new_table(ledger: PostgresLedger, engine: AsyncEngine) -> None:
    await ledger.apply(a_draft(), "alice")
    route = Route(host="camp.test", path="/x")
    await ledger.apply(a_draft(route=route), "alice")
    seen = await PostgresStore(engine, ENVIRONMENT).observe()
    assert (seen.environment.route, seen.table.revision) == (route, 1)
    assert (await ledger.environment(ENVIRONMENT)).environment.route == route


async def test_a_deleted_environment_is_gone_and_its_events_stay(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    await deployed(ledger, engine, "1.0.0")
    epochs: list[int] = []

    async def withdraw(epoch: int) -> None:
        epochs.append(epoch)

    await ledger.delete(ENVIRONMENT, "bob", withdraw)
    assert epochs == [2]
    with pytest.raises(NotFound):
        await ledger.environment(ENVIRONMENT)
    last = (await ledger.recent_events(ENVIRONMENT, None, 1))[0]
    assert (last.message, last.data["actor"]) == ("bob deleted local", "bob")
    assert await ledger.apply(a_draft(), "alice")


async def test_an_environment_that_cannot_leave_its_edges_stays(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")

    async def withdraw(epoch: int) -> None:
        raise BusUnavailable("Redis failed.")

    with pytest.raises(BusUnavailable):
        await ledger.delete(ENVIRONMENT, "bob", withdraw)
    assert await PostgresStore(engine, ENVIRONMENT).epoch() == 0


async def test_an_environment_with_a_rollout_or_instances_is_not_deleted(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    async def withdraw(epoch: int) -> None:
        raise AssertionError("it must not leave its edges")

    await furnish(ledger, "1.0.0")
    rollout = await ledger.start(a_start())
    with pytest.raises(Conflict, match=rollout.id):
        await ledger.delete(ENVIRONMENT, "bob", withdraw)
    await lead(engine, State.ABORTED)
    store = PostgresStore(engine, ENVIRONMENT)
    running = SlotReport(1, a_release("1.0.0").spec, Phase.HEALTHY, "127.0.0.1:1")
    await store.report(HostReport("host-a", 1, 1, slots=(running,)))
    with pytest.raises(Conflict, match="run on host-a"):
        await ledger.delete(ENVIRONMENT, "bob", withdraw)
    with pytest.raises(NotFound):
        await ledger.delete("nowhere", "bob", withdraw)
