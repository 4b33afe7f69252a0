"""What every ledger promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.commands import Command
from controlplane.domain.errors import (
    BusUnavailable,
    Conflict,
    Invalid,
    NotFound,
    Stale,
    StoreUnavailable,
)
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.model import Kind, Policy, Rollout, State
from controlplane.domain.records import Changes
from controlplane.domain.reports import HostReport, Phase, SlotReport
from controlplane.domain.route import Route
from tests.ledgers import (
    EDGE,
    ENVIRONMENT,
    a_draft,
    a_release,
    a_start,
    an_order,
    deployed,
    furnish,
    lead,
)


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(migrated_database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def ledger(engine: AsyncEngine) -> PostgresLedger:
    return PostgresLedger(engine)


async def test_applying_the_same_environment_again_changes_nothing(ledger: PostgresLedger) -> None:
    assert await ledger.apply(a_draft(), "alice")
    assert not await ledger.apply(a_draft(), "bob")

    row = await ledger.environment(ENVIRONMENT)
    assert (row.environment.version, row.applied_by) == (1, "alice")


async def test_a_restart_goes_to_the_release_that_runs(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    with pytest.raises(Conflict, match="nothing to start anew"):
        await ledger.start(a_start(None, restart=True))
    await deployed(ledger, engine, "1.0.0")

    begun = await ledger.start(a_start(None, restart=True))

    assert (begun.target.version, begun.restart) == ("1.0.0", True)
    ended = await lead(engine, State.SUCCEEDED)
    assert ended.restart
    assert "alice asked for restart to 1.0.0" in [
        e.message for e in await ledger.recent_events(ENVIRONMENT, begun.id, 10)
    ]


async def test_scaling_changes_the_policy_together_with_its_rollout(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    await deployed(ledger, engine, "1.0.0")

    begun = await ledger.start(a_start(None, instances=5))

    assert begun.policy.instances_per_host == 5
    row = await ledger.environment(ENVIRONMENT)
    assert row.environment.policy.instances_per_host == 5
    assert row.environment.version == 2


async def test_scaling_to_what_could_never_move_or_to_nothing_changes_nothing(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    await deployed(ledger, engine, "1.0.0")
    await ledger.apply(a_draft(policy=Policy(max_surge=0, max_unavailable="25%")), "alice")
    for instances, part in ((0, "whole number"), (1, "both come to 0")):
        with pytest.raises(Invalid, match=part):
            await ledger.start(a_start(None, instances=instances))
    assert (await ledger.environment(ENVIRONMENT)).active is None


async def test_after_a_failed_restart_one_may_go_back_to_what_runs(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    await deployed(ledger, engine, "1.0.0")
    await ledger.start(a_start(None, restart=True))
    await lead(engine, State.FAILED)

    begun = await ledger.start(a_start(None, kind=Kind.ROLLBACK))

    assert begun.target.version == "1.0.0"


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
    await _occupy(engine, "host-a")

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


async def test_the_same_release_may_be_added_again(ledger: PostgresLedger) -> None:
    assert await ledger.add_release(a_release("1.0.0"), "alice")
    assert not await ledger.add_release(a_release("1.0.0"), "bob")
    assert (await ledger.release("1.0.0")).created_by == "alice"


async def test_a_version_never_gets_another_digest(ledger: PostgresLedger) -> None:
    await ledger.add_release(a_release("1.0.0", "a"), "alice")
    with pytest.raises(Conflict, match="releases never change"):
        await ledger.add_release(a_release("1.0.0", "b"), "alice")


async def test_the_same_bytes_are_never_two_releases(ledger: PostgresLedger) -> None:
    await ledger.add_release(a_release("1.0.0", "a"), "alice")
    with pytest.raises(Conflict, match=r"known as release 1\.0\.0"):
        await ledger.add_release(a_release("1.0.1", "a"), "alice")


async def test_a_release_with_a_bad_digest_is_refused(ledger: PostgresLedger) -> None:
    with pytest.raises(Invalid, match="digest"):
        await ledger.add_release(replace(a_release("1.0.0"), digest="sha256:abc"), "alice")


async def test_a_rollout_starts_pending_with_the_policy_of_its_environment(
    ledger: PostgresLedger,
) -> None:
    await furnish(ledger, "1.0.0")
    rollout = await ledger.start(a_start(reason="first"))

    assert (rollout.state, rollout.policy, rollout.source) == (State.PENDING, Policy(), None)
    assert rollout.deadline_at > rollout.created_at
    assert await ledger.rollout(rollout.id) == rollout
    assert (await ledger.environment(ENVIRONMENT)).active == rollout.id


async def test_unknown_names_are_not_found(ledger: PostgresLedger) -> None:
    with pytest.raises(NotFound, match="environment 'local'"):
        await ledger.start(a_start())
    await furnish(ledger)
    with pytest.raises(NotFound, match=r"release '1\.0\.0'"):
        await ledger.start(a_start())
    with pytest.raises(NotFound, match="rollout 'r-1'"):
        await ledger.rollout("r-1")


async def test_a_second_rollout_is_refused_and_told_why(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    first = await ledger.start(a_start())

    with pytest.raises(Conflict, match=rf"{first.id}.*--supersede"):
        await ledger.start(a_start("1.1.0"))


async def test_of_two_starts_at_once_one_wins(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    outcomes = await asyncio.gather(
        ledger.start(a_start()), ledger.start(a_start("1.1.0")), return_exceptions=True
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Rollout) for outcome in outcomes) == 1


async def test_superseding_ends_the_active_rollout_and_says_so(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    first = await ledger.start(a_start())
    second = await ledger.start(a_start("1.1.0", supersede=True))

    assert (await ledger.rollout(first.id)).state is State.SUPERSEDED
    (told,) = await ledger.events(0, None, second.id, 10)
    (begun, ended) = await ledger.events(0, None, first.id, 10)
    assert second.id in ended.message
    assert begun.id < ended.id < told.id


async def test_the_current_release_may_be_deployed_again(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0")
    await deployed(ledger, engine, "1.0.0")
    again = await ledger.start(a_start())
    assert again.source == again.target


async def test_a_rollback_goes_to_the_previous_release(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    await deployed(ledger, engine, "1.0.0")
    await deployed(ledger, engine, "1.1.0")

    back = await ledger.start(a_start(None, kind=Kind.ROLLBACK))
    assert (back.kind, back.target.version) == (Kind.ROLLBACK, "1.0.0")


async def test_a_rollback_without_an_earlier_release_is_refused(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0")
    with pytest.raises(Conflict, match="no earlier release"):
        await ledger.start(a_start(None, kind=Kind.ROLLBACK))


async def test_after_a_rollback_the_refusal_names_what_held_before(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0", "1.2.0")
    await deployed(ledger, engine, "1.0.0")
    await deployed(ledger, engine, "1.1.0")
    await ledger.start(a_start(None, kind=Kind.ROLLBACK))
    await lead(engine, State.SUCCEEDED)
    with pytest.raises(Conflict, match=r"runs 1\.0\.0 .* held here before: 1\.1\.0\."):
        await ledger.start(a_start(None, kind=Kind.ROLLBACK))


async def test_an_environment_tells_how_many_slots_run_which_version(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    assert (await ledger.environment(ENVIRONMENT)).runs == ()
    await _occupy(engine, "host-a")
    await _occupy(engine, "host-b", "1.1.0")
    assert (await ledger.environment(ENVIRONMENT)).runs == (("1.0.0", 1), ("1.1.0", 1))
    assert (await ledger.environments())[0].runs == (("1.0.0", 1), ("1.1.0", 1))


async def test_after_an_aborted_rollout_a_rollback_restores_what_held(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0", "1.2.0")
    await deployed(ledger, engine, "1.0.0")
    await deployed(ledger, engine, "1.1.0")
    halfway = await ledger.start(a_start("1.2.0"))
    await ledger.steer(an_order(halfway, Command.ABORT))

    back = await ledger.start(a_start(None, kind=Kind.ROLLBACK))
    assert back.target.version == "1.1.0"


async def test_never_back_to_the_release_that_has_just_failed(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    await deployed(ledger, engine, "1.0.0")
    await ledger.start(a_start("1.1.0"))
    await lead(engine, State.ROLLED_BACK, "1.1.0 never became ready")

    with pytest.raises(Conflict, match="just failed"):
        await ledger.start(a_start("1.1.0", kind=Kind.ROLLBACK))


async def test_rolling_back_a_finished_rollout_starts_a_new_one(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    await deployed(ledger, engine, "1.0.0")
    done = await deployed(ledger, engine, "1.1.0")

    order = an_order(done, Command.ROLLBACK, key="k1")
    back = await ledger.steer(order)
    assert (back.kind, back.target.version) == (Kind.ROLLBACK, "1.0.0")
    assert back.id != done.id
    assert await ledger.steer(order) == back


async def test_only_the_latest_finished_rollout_can_be_undone(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    await furnish(ledger, "1.0.0", "1.1.0")
    first = await deployed(ledger, engine, "1.0.0")
    await deployed(ledger, engine, "1.1.0")
    with pytest.raises(Conflict, match="not the latest"):
        await ledger.steer(an_order(first, Command.ROLLBACK))


async def test_a_command_changes_the_rollout_and_is_logged(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await _progressing(ledger, engine)
    paused = await ledger.steer(an_order(rollout, Command.PAUSE, reason="lunch"))

    assert (paused.state, paused.version) == (State.PAUSED, rollout.version + 1)
    last = (await ledger.recent_events(None, rollout.id, 1))[0]
    assert last.kind == "command"
    assert "alice" in last.message
    assert "lunch" in last.message
    assert last.data["actor"] == "alice"


async def test_the_same_key_gives_the_stored_outcome(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await _progressing(ledger, engine)
    order = an_order(rollout, Command.PAUSE, key="k1")
    first = await ledger.steer(order)
    await ledger.steer(an_order(rollout, Command.RESUME))

    assert await ledger.steer(order) == first
    assert (await ledger.rollout(rollout.id)).state is State.PROGRESSING


async def test_a_start_with_the_same_key_starts_once(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0")
    first, second = await asyncio.gather(
        ledger.start(a_start(key="k1")), ledger.start(a_start(key="k1"))
    )
    assert first == second
    assert len(await ledger.rollouts(ENVIRONMENT, 10)) == 1


async def test_a_key_cannot_be_used_for_another_request(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await _progressing(ledger, engine)
    await ledger.steer(an_order(rollout, Command.PAUSE, key="k1"))
    with pytest.raises(Conflict, match="idempotency key"):
        await ledger.steer(an_order(rollout, Command.ABORT, key="k1"))


async def test_a_command_on_a_changed_rollout_is_refused_with_its_state(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await _progressing(ledger, engine)
    paused = await ledger.steer(an_order(rollout, Command.PAUSE))
    with pytest.raises(Conflict, match="paused now"):
        await ledger.steer(an_order(rollout, Command.ABORT, expected_version=paused.version - 1))
    aborted = await ledger.steer(an_order(rollout, Command.ABORT, expected_version=paused.version))
    assert aborted.state is State.ABORTED
    assert (await ledger.environment(ENVIRONMENT)).active is None


async def test_a_leader_that_looked_before_a_command_loses(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await _progressing(ledger, engine)
    store = PostgresStore(engine, ENVIRONMENT)
    seen = await store.observe()
    await ledger.steer(an_order(rollout, Command.ABORT))
    with pytest.raises(Stale):
        await store.commit(1, "test", seen, Changes(rollout=rollout))


async def test_events_come_in_the_order_of_their_ids(ledger: PostgresLedger) -> None:
    await furnish(ledger, "1.0.0")
    await ledger.start(a_start())
    found = await ledger.events(0, ENVIRONMENT, None, 100)
    assert [event.id for event in found] == sorted(event.id for event in found)
    assert found[-1].id == await ledger.last_event()
    assert await ledger.events(found[-1].id, None, None, 100) == ()
    assert (await ledger.recent_events(ENVIRONMENT, None, 1))[0] == found[-1]


async def test_a_disabled_operator_is_unknown(ledger: PostgresLedger, engine: AsyncEngine) -> None:
    await ledger.add_operator("alice", "h1")
    assert await ledger.operator("h1") == "alice"
    with pytest.raises(Conflict, match="alice"):
        await ledger.add_operator("alice", "h2")
    await ledger.add_operator("bob", "h3")
    assert await ledger.revoke_operator("alice", "bob", "left the team")
    assert await ledger.operator("h1") is None
    assert await ledger.operator("h3") == "bob"


async def test_a_revocation_is_kept_with_who_asked_and_why(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    for name in ("alice", "bob"):
        await ledger.add_operator(name, name)
    await ledger.revoke_operator("alice", "bob", "left the team")
    assert not await ledger.revoke_operator("alice", "bob", "again")

    alice, bob = await ledger.operators()
    assert (alice.name, alice.revoked_by, bob.revoked_at) == ("alice", "bob", None)
    assert alice.revoked_at is not None
    assert alice.revoked_at >= alice.created_at
    async with engine.connect() as connection:
        audit = await connection.execute(text("SELECT kind, actor, reason FROM commands"))
        assert audit.all() == [("operator_revoke", "bob", "left the team")]
    with pytest.raises(Conflict, match="alice"):
        await ledger.add_operator("alice", "h9")


async def test_the_last_operator_cannot_be_revoked(ledger: PostgresLedger) -> None:
    for name in ("alice", "bob"):
        await ledger.add_operator(name, name)
    done = await asyncio.gather(
        ledger.revoke_operator("alice", "bob", ""),
        ledger.revoke_operator("bob", "alice", ""),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in done) == ["Conflict", "bool"]
    assert [o.revoked_at is None for o in await ledger.operators()].count(True) == 1
    with pytest.raises(NotFound, match="camp operator list"):
        await ledger.revoke_operator("nobody", "alice", "")


async def test_missing_tables_are_named_with_the_remedy(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        with pytest.raises(StoreUnavailable, match="camp migrate upgrade"):
            await PostgresLedger(engine).environments()
    finally:
        await engine.dispose()


async def test_a_dead_database_is_unavailable() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    try:
        with pytest.raises(StoreUnavailable):
            await PostgresLedger(engine).environments()
    finally:
        await engine.dispose()


async def _progressing(ledger: PostgresLedger, engine: AsyncEngine) -> Rollout:
    await furnish(ledger, "1.0.0")
    await ledger.start(a_start())
    await lead(engine, State.PROGRESSING)
    return (await ledger.rollouts(ENVIRONMENT, 1))[0]


async def _occupy(engine: AsyncEngine, host: str, version: str = "1.0.0") -> None:
    store = PostgresStore(engine, ENVIRONMENT)
    await store.claim_epoch("test", 0)
    seen = await store.observe()
    slot = SlotGoal(host, 0, a_release(version), Goal.RUN, seen.now)
    await store.commit(1, "test", seen, Changes(slots=(slot,)))
