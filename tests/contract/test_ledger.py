"""What every ledger promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.commands import Command
from controlplane.domain.errors import (
    Conflict,
    Invalid,
    NotFound,
    Stale,
    StoreUnavailable,
)
from controlplane.domain.model import Kind, Policy, Rollout, State
from controlplane.domain.records import Changes
from tests.ledgers import (
    ENVIRONMENT,
    a_draft,
    a_release,
    a_start,
    an_order,
    deployed,
    furnish,
    lead,
    occupy,
    progressing,
)


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
    await occupy(engine, "host-a")
    await occupy(engine, "host-b", "1.1.0")
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
    rollout = await progressing(ledger, engine)
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
    rollout = await progressing(ledger, engine)
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
    rollout = await progressing(ledger, engine)
    await ledger.steer(an_order(rollout, Command.PAUSE, key="k1"))
    with pytest.raises(Conflict, match="idempotency key"):
        await ledger.steer(an_order(rollout, Command.ABORT, key="k1"))


async def test_a_command_on_a_changed_rollout_is_refused_with_its_state(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await progressing(ledger, engine)
    paused = await ledger.steer(an_order(rollout, Command.PAUSE))
    with pytest.raises(Conflict, match="paused now"):
        await ledger.steer(an_order(rollout, Command.ABORT, expected_version=paused.version - 1))
    aborted = await ledger.steer(an_order(rollout, Command.ABORT, expected_version=paused.version))
    assert aborted.state is State.ABORTED
    assert (await ledger.environment(ENVIRONMENT)).active is None


async def test_a_leader_that_looked_before_a_command_loses(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    rollout = await progressing(ledger, engine)
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
