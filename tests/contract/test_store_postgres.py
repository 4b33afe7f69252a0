"""What only the store in PostgreSQL can show."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import text

from controlplane.adapters.postgres import tables
from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.errors import NotFound, Skewed, Stale, StoreUnavailable
from controlplane.domain.goals import JobState
from controlplane.domain.records import Changes
from controlplane.domain.routing import Table
from tests.stores import (
    LEADER,
    NAME,
    OTHER,
    PostgresGround,
    goal,
    host,
    job,
    lead,
    ran,
    release,
    report,
    rollout,
    with_job,
)


async def test_a_hung_database_is_an_error_within_the_time_limit(
    postgres_ground: PostgresGround,
) -> None:
    through = postgres_ground.store
    assert isinstance(through, PostgresStore)
    store = PostgresStore(through._engine, NAME, timeout_s=0.2)
    seen = await lead(store)
    postgres_ground.proxy.freeze()

    async with asyncio.timeout(5):
        for call in (
            store.observe,
            lambda: store.commit(1, LEADER, seen, Changes(slots=(goal(),))),
        ):
            with pytest.raises(StoreUnavailable):
                await call()


async def test_environments_do_not_see_each_other(postgres_ground: PostgresGround) -> None:
    mine = postgres_ground.store
    theirs = PostgresStore(postgres_ground.engine, OTHER.name)
    seen, untouched = await lead(mine), await theirs.observe()

    await mine.commit(
        1, LEADER, seen, Changes(slots=(goal(),), table=Table(1), held=(release(), None))
    )
    await mine.report(report())

    assert replace(await theirs.observe(), now=untouched.now) == untouched
    assert await theirs.epoch() == 0


async def test_an_environment_that_was_never_applied_is_named_with_the_remedy(
    postgres_ground: PostgresGround,
) -> None:
    store = PostgresStore(postgres_ground.engine, "nowhere")

    for call in (store.observe, store.epoch):
        with pytest.raises(NotFound, match="camp env apply"):
            await call()
    assert await store.desired("a") is None


async def test_a_database_without_tables_names_the_command_that_makes_them(
    database_url: str,
) -> None:
    engine = open_engine(database_url)
    with pytest.raises(StoreUnavailable, match="camp migrate upgrade"):
        await PostgresStore(engine, NAME).observe()
    await engine.dispose()


async def test_reports_and_commits_at_once_neither_deadlock_nor_get_lost(
    postgres_ground: PostgresGround,
) -> None:
    store = postgres_ground.store
    await with_job(postgres_ground)

    async def agent(name: str) -> None:
        for i in range(25):
            said = ran(JobState.RUNNING, f"line {i}")
            await store.report(replace(said, host=name, agent_version=str(i)))

    async def leader() -> int:
        stale = 0
        for i in range(25):
            goals = (goal("b", i), goal("a", i))
            try:
                await store.commit(
                    1, LEADER, await store.observe(), Changes(slots=goals, jobs=(job(),))
                )
            except Stale:
                stale += 1
        return stale

    stale, *_ = await asyncio.gather(leader(), agent("a"), agent("b"))

    now = await store.observe()
    assert len(now.slots) == 2 * (25 - stale)
    assert [row.desired_version for row in now.hosts] == [26 - stale, 25 - stale]
    assert host(now, "b").report_version == 25


async def test_a_rollout_started_during_a_commit_waits_for_it_or_makes_it_stale(
    postgres_ground: PostgresGround,
) -> None:
    store = postgres_ground.store
    seen = await lead(store)
    async with postgres_ground.engine.connect() as starter:
        values = {"id": "r-1", "environment": NAME, "rollout": msgspec.to_builtins(rollout())}
        await starter.execute(tables.rollouts.insert().values(values))
        commit = asyncio.create_task(store.commit(1, LEADER, seen, Changes(slots=(goal(),))))
        done, _ = await asyncio.wait({commit}, timeout=0.3)
        assert not done
        await starter.commit()

    with pytest.raises(Stale):
        await commit


async def test_goals_of_a_later_leader_are_refused_with_the_remedy(
    postgres_ground: PostgresGround,
) -> None:
    store = postgres_ground.store
    await store.commit(1, LEADER, await lead(store), Changes(slots=(goal(),)))
    change = """UPDATE slots SET goal = jsonb_set(goal, '{goal}', '"hover"')"""
    await postgres_ground.execute(text(change))

    with pytest.raises(Skewed, match=r"hover.*Replace the agent of a"):
        await store.desired("a")
    with pytest.raises(Skewed, match=r"hover.*Replace this program"):
        await store.observe()


async def test_the_protocol_is_read_before_the_goals(postgres_ground: PostgresGround) -> None:
    store = postgres_ground.store
    await store.commit(1, LEADER, await lead(store), Changes(slots=(goal(),)))
    change = """UPDATE slots SET goal = jsonb_set(goal, '{goal}', '"hover"')"""
    await postgres_ground.execute(text(change), text("UPDATE leaders SET protocol = 7"))

    with pytest.raises(Skewed, match="The leader speaks protocol 7"):
        await store.desired("a")


async def test_the_key_for_hashes_is_made_once_and_is_the_same_for_all_hosts(
    postgres_ground: PostgresGround,
) -> None:
    store = postgres_ground.store

    async def key(host: str) -> str:
        desired = await store.desired(host)
        assert desired is not None
        return desired.secret

    assert await key("a") == ""
    await store.claim_epoch("leader-1", 0)
    made = await key("a")
    await store.claim_epoch("leader-2", 1)
    assert len(made) >= 64
    assert await key("a") == await key("b") == made
