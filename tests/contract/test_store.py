"""What every store must do, the one in PostgreSQL and the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import make_url

from controlplane.adapters import tables
from controlplane.adapters.postgres_engine import open_engine
from controlplane.adapters.postgres_store import PostgresStore
from controlplane.demo.servers import PostgresServer
from controlplane.domain.errors import Fenced, NotFound, Stale, StoreUnavailable
from controlplane.domain.fleet import (
    Goal,
    JobState,
    Member,
    Table,
)
from controlplane.domain.model import (
    Policy,
    State,
    enter,
)
from controlplane.domain.records import LOOK_VALID_S, Changes, HostRow
from tests.proxy import Proxy
from tests.stores import (
    ENVIRONMENT,
    NAME,
    OTHER,
    FakeGround,
    Ground,
    PostgresGround,
    goal,
    host,
    job,
    lead,
    ran,
    release,
    report,
    rollout,
)


@pytest.fixture(scope="module")
def store_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """One database for all these tests, emptied before each: a new one costs more than a test."""
    yield postgres.create_database("store_contract", migrated_template)
    postgres.drop_database("store_contract")


@pytest.fixture
async def postgres_ground(store_url: str) -> AsyncIterator[PostgresGround]:
    url = make_url(store_url)
    assert url.port is not None
    proxy = Proxy(url.port)
    await proxy.open()
    indirect = url.set(port=proxy.port).render_as_string(hide_password=False)
    engine, through = open_engine(store_url), open_engine(indirect)
    ground = PostgresGround(engine, through, proxy)
    await ground.empty()
    await ground.add(ENVIRONMENT)
    await ground.add(OTHER)
    yield ground
    await through.dispose()
    await engine.dispose()
    await proxy.cut()


@pytest.fixture(params=["fake", "postgres"])
def ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "fake":
        return FakeGround()
    found: PostgresGround = request.getfixturevalue("postgres_ground")
    return found


async def test_only_one_of_many_claims_raises_the_epoch(ground: Ground) -> None:
    claims = [ground.store.claim_epoch(f"leader-{i}", 0) for i in range(4)]

    assert sorted(await asyncio.gather(*claims)) == [False, False, False, True]
    assert await ground.store.epoch() == 1


async def test_a_fresh_environment_is_observed_empty(ground: Ground) -> None:
    seen = await ground.store.observe()

    assert seen.environment == ENVIRONMENT
    assert (seen.rollout, seen.slots, seen.jobs, seen.table) == (None, (), (), Table())
    assert seen.hosts == tuple(HostRow(name, 0, (), None, 0, 0.0) for name in ("a", "b"))
    assert "0001" in seen.schema
    assert seen.now > 0


async def test_a_commit_is_observed_as_it_was_written(ground: Ground) -> None:
    await ground.start(rollout())
    members = frozenset({Member("a", 1, "127.0.0.1:18001"), Member("b", 1, "127.0.0.1:18002")})
    changes = Changes(
        slots=(goal("b", 2, Goal.DRAIN), goal("a", 1)),
        images=(("b", (release(), release("1.1.0"))),),
        jobs=(job(),),
        table=Table(4, members),
        events=(("step", "started a/1"), ("step", "drains b/2")),
        held=(release("1.1.0"), release()),
    )

    await ground.store.commit(1, await lead(ground.store), changes)

    now = await ground.store.observe()
    assert now.slots == (goal("a", 1), goal("b", 2, Goal.DRAIN))
    assert now.table == changes.table
    assert now.jobs == (job(),)
    assert host(now, "b").images == (release(), release("1.1.0"))
    assert (now.environment.current, now.environment.previous) == changes.held
    assert now.environment.version == ENVIRONMENT.version
    assert tuple(await ground.events()) == changes.events


async def test_a_rollout_survives_the_round_trip_one_version_further(ground: Ground) -> None:
    await ground.start(rollout())
    seen = await lead(ground.store)
    assert seen.rollout == rollout()

    await ground.store.commit(1, seen, Changes(rollout=replace(rollout(), progress=3)))

    assert (await ground.store.observe()).rollout == replace(rollout(), progress=3, version=2)


async def test_a_finished_rollout_is_kept_but_no_longer_active(ground: Ground) -> None:
    await ground.start(rollout())
    done = enter(rollout(), State.SUCCEEDED, 50.0)

    await ground.store.commit(1, await lead(ground.store), Changes(rollout=done))

    assert (await ground.store.observe()).rollout is None
    assert await ground.stored() == replace(done, version=2)
    await ground.start(rollout("r-2"))
    following = (await ground.store.observe()).rollout
    assert following is not None
    assert following.id == "r-2"


async def test_a_release_held_for_the_first_time_has_none_to_go_back_to(ground: Ground) -> None:
    await ground.store.commit(1, await lead(ground.store), Changes(held=(release(), None)))

    now = (await ground.store.observe()).environment
    assert (now.current, now.previous) == (release(), None)


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        (Changes(slots=(goal("a", 1), goal("a", 2))), {"a"}),
        (Changes(freed=(("b", 1),)), {"b"}),
        (Changes(images=(("a", ()), ("b", (release(),)))), {"a", "b"}),
        (Changes(jobs=(job(host="b"),)), {"b"}),
        (Changes(table=Table(1), events=(("step", "x"),)), set()),
    ],
)
async def test_only_touched_hosts_get_a_new_desired_version_and_just_one(
    ground: Ground, changes: Changes, touched: set[str]
) -> None:
    await ground.store.commit(1, await lead(ground.store), changes)

    versions = {row.name: row.desired_version for row in (await ground.store.observe()).hosts}
    assert versions == {name: int(name in touched) for name in ("a", "b")}


async def test_goals_are_replaced_and_freed_by_host_and_slot(ground: Ground) -> None:
    seen = await lead(ground.store)
    await ground.store.commit(1, seen, Changes(slots=(goal("a", 1), goal("a", 2), goal("b", 1))))
    seen = await ground.store.observe()

    changes = Changes(slots=(goal("a", 1, Goal.STOP),), freed=(("a", 2),))
    await ground.store.commit(1, seen, changes)

    assert (await ground.store.observe()).slots == (goal("a", 1, Goal.STOP), goal("b", 1))


async def test_images_of_untouched_hosts_stay(ground: Ground) -> None:
    seen = await lead(ground.store)
    await ground.store.commit(1, seen, Changes(images=(("a", (release(),)),)))
    seen = await ground.store.observe()

    await ground.store.commit(1, seen, Changes(slots=(goal("a"),), images=(("b", ()),)))

    assert host(await ground.store.observe(), "a").images == (release(),)


async def test_an_outdated_epoch_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    assert await ground.store.claim_epoch("leader-2", 1)

    with pytest.raises(Fenced):
        await ground.store.commit(1, seen, Changes(slots=(goal(),), events=(("step", "x"),)))

    assert (await ground.store.observe()).slots == ()
    assert await ground.events() == []


async def test_an_epoch_that_was_never_issued_writes_nothing(ground: Ground) -> None:
    with pytest.raises(Fenced):
        await ground.store.commit(7, await lead(ground.store), Changes(slots=(goal(),)))


async def change_policy(ground: Ground) -> None:
    await ground.apply(replace(ENVIRONMENT, policy=Policy(max_surge=2)))


async def steer_rollout(ground: Ground) -> None:
    await ground.steer(enter(rollout(), State.PAUSED, 9.0))


async def report_from_a_host(ground: Ground) -> None:
    await ground.store.report(report("b"))


async def commit_a_goal(ground: Ground) -> None:
    await ground.store.commit(1, await ground.store.observe(), Changes(slots=(goal("b"),)))


async def commit_a_table(ground: Ground) -> None:
    await ground.store.commit(1, await ground.store.observe(), Changes(table=Table(1)))


@pytest.mark.parametrize(
    "interfere",
    [change_policy, steer_rollout, report_from_a_host, commit_a_goal, commit_a_table],
)
async def test_a_plan_made_from_an_older_look_writes_nothing(
    ground: Ground, interfere: Any
) -> None:
    await ground.start(rollout())
    seen = await lead(ground.store)
    await interfere(ground)
    before = await ground.store.observe()

    with pytest.raises(Stale):
        await ground.store.commit(1, seen, Changes(slots=(goal("a"),), table=Table(9)))

    after = await ground.store.observe()
    assert replace(after, now=before.now) == before


async def test_a_plan_made_before_a_rollout_began_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    await ground.start(rollout())

    with pytest.raises(Stale):
        await ground.store.commit(1, seen, Changes(slots=(goal(),)))


async def test_a_rollout_that_is_not_the_active_one_is_not_written(ground: Ground) -> None:
    await ground.start(rollout())

    with pytest.raises(Stale):
        await ground.store.commit(1, await lead(ground.store), Changes(rollout=rollout("r-9")))


async def test_a_look_that_is_too_old_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    too_old = replace(seen, now=seen.now - LOOK_VALID_S - 0.1)

    with pytest.raises(Stale):
        await ground.store.commit(1, too_old, Changes(slots=(goal(),)))

    assert (await ground.store.observe()).slots == ()


async def test_a_repeated_report_does_not_make_a_plan_stale(ground: Ground) -> None:
    await ground.store.report(report())
    seen = await lead(ground.store)
    await ground.store.report(report())

    await ground.store.commit(1, seen, Changes(slots=(goal(),)))

    assert (await ground.store.observe()).slots == (goal(),)


async def test_of_two_commits_from_one_look_only_one_is_written(ground: Ground) -> None:
    seen = await lead(ground.store)
    commits = [ground.store.commit(1, seen, Changes(slots=(goal("a", i),))) for i in (1, 2)]

    ended = await asyncio.gather(*commits, return_exceptions=True)

    assert sorted(type(end).__name__ for end in ended) == ["NoneType", "Stale"]
    assert len((await ground.store.observe()).slots) == 1


async def test_a_report_says_whether_it_differs_and_is_always_seen(ground: Ground) -> None:
    store = ground.store
    answers = [
        await store.report(report()),
        await store.report(report()),
        await store.report(report(agent_version="2")),
    ]

    row = host(await store.observe(), "a")
    assert answers == [True, False, True]
    assert (row.report, row.report_version) == (report(agent_version="2"), 2)
    assert row.seen_at > 0


async def test_seen_at_moves_even_when_nothing_else_does(ground: Ground) -> None:
    await ground.store.report(report())
    first = host(await ground.store.observe(), "a").seen_at
    if isinstance(ground, FakeGround):
        ground.fake.world.now += 1

    await ground.store.report(report())

    assert host(await ground.store.observe(), "a").seen_at > first


async def test_a_report_from_an_unknown_host_is_ignored(ground: Ground) -> None:
    assert await ground.store.report(report("stranger")) is False
    assert {row.name for row in (await ground.store.observe()).hosts} == {"a", "b"}


async def with_job(ground: Ground) -> None:
    await ground.start(rollout())
    await ground.store.commit(1, await lead(ground.store), Changes(jobs=(job(),)))


async def test_a_job_takes_its_state_from_its_hosts_report(ground: Ground) -> None:
    await with_job(ground)

    await ground.store.report(ran(JobState.RUNNING, "applying 0002"))
    running = await ground.store.observe()
    await ground.store.report(ran(JobState.SUCCEEDED))

    assert running.jobs == (replace(job(), state=JobState.RUNNING, detail="applying 0002"),)
    ended = await ground.store.observe()
    assert ended.jobs == (replace(job(), state=JobState.SUCCEEDED),)
    assert host(ended, "a").report_version > host(running, "a").report_version


async def test_a_job_of_another_host_is_not_touched_by_a_report(ground: Ground) -> None:
    await with_job(ground)

    await ground.store.report(replace(ran(JobState.FAILED), host="b"))

    assert (await ground.store.observe()).jobs == (job(),)


async def test_a_finished_job_is_not_brought_back_by_a_late_report(ground: Ground) -> None:
    await with_job(ground)
    await ground.store.report(ran(JobState.FAILED, "exit 1"))

    await ground.store.report(ran(JobState.RUNNING))

    assert (await ground.store.observe()).jobs[0].state is JobState.FAILED


async def test_a_job_known_to_an_equal_report_still_changes_the_report_version(
    ground: Ground,
) -> None:
    await ground.start(rollout())
    await ground.store.report(ran(JobState.RUNNING))
    await ground.store.commit(1, await lead(ground.store), Changes(jobs=(job(),)))

    assert await ground.store.report(ran(JobState.RUNNING)) is True

    assert host(await ground.store.observe(), "a").report_version == 2


async def test_jobs_of_earlier_rollouts_are_neither_observed_nor_desired(ground: Ground) -> None:
    await with_job(ground)
    done = enter(rollout(), State.FAILED, 50.0)
    await ground.store.commit(1, await ground.store.observe(), Changes(rollout=done))
    await ground.start(rollout("r-10"))

    desired = await ground.store.desired("a")

    assert (await ground.store.observe()).jobs == ()
    assert desired is not None
    assert desired.jobs == ()


async def test_a_host_is_told_its_goals_images_and_unfinished_jobs(ground: Ground) -> None:
    await ground.start(rollout())
    changes = Changes(
        slots=(goal("a", 2), goal("a", 1), goal("b", 1)),
        images=(("a", (release(),)),),
        jobs=(job(), job("r-1/2", "b")),
    )
    await ground.store.commit(1, await lead(ground.store), changes)

    desired = await ground.store.desired("a")

    assert desired is not None
    assert (desired.host, desired.epoch, desired.version) == ("a", 1, 1)
    assert desired.policy == rollout().policy
    assert desired.slots == (goal("a", 1), goal("a", 2))
    assert (desired.images, desired.jobs) == ((release(),), (job(),))
    await ground.store.report(ran(JobState.SUCCEEDED))
    later = await ground.store.desired("a")
    assert later is not None
    assert later.jobs == ()


async def test_without_a_rollout_a_host_follows_the_environments_policy(ground: Ground) -> None:
    desired = await ground.store.desired("b")

    assert desired is not None
    assert desired.policy == ENVIRONMENT.policy
    await ground.apply(replace(ENVIRONMENT, policy=Policy(stop_grace_s=1.0)))
    changed = await ground.store.desired("b")
    assert changed is not None
    assert changed.policy == Policy(stop_grace_s=1.0)


async def test_a_host_learns_of_a_new_epoch(ground: Ground) -> None:
    await ground.store.desired("a")
    await ground.store.claim_epoch("leader-1", 0)

    desired = await ground.store.desired("a")

    assert desired is not None
    assert desired.epoch == 1


async def test_an_unknown_host_has_nothing_desired(ground: Ground) -> None:
    assert await ground.store.desired("stranger") is None


async def test_a_lost_database_is_said_by_every_method_and_forgotten_when_it_is_back(
    ground: Ground,
) -> None:
    store = ground.store
    seen = await lead(store)
    await ground.lose()
    for call in (
        lambda: store.claim_epoch("leader-2", 1),
        store.epoch,
        store.observe,
        lambda: store.commit(1, seen, Changes(slots=(goal(),))),
        lambda: store.desired("a"),
        lambda: store.report(report()),
    ):
        with pytest.raises(StoreUnavailable):
            await call()

    await ground.find_again()

    assert replace(await store.observe(), now=seen.now) == seen


# What only the real one can show.


async def test_a_hung_database_is_an_error_within_the_time_limit(
    postgres_ground: PostgresGround,
) -> None:
    through = postgres_ground.store
    assert isinstance(through, PostgresStore)
    store = PostgresStore(through._engine, NAME, timeout_s=0.2)
    seen = await lead(store)
    postgres_ground.proxy.freeze()

    async with asyncio.timeout(5):
        for call in (store.observe, lambda: store.commit(1, seen, Changes(slots=(goal(),)))):
            with pytest.raises(StoreUnavailable):
                await call()


async def test_environments_do_not_see_each_other(postgres_ground: PostgresGround) -> None:
    mine = postgres_ground.store
    theirs = PostgresStore(postgres_ground.engine, OTHER.name)
    seen, untouched = await lead(mine), await theirs.observe()

    await mine.commit(1, seen, Changes(slots=(goal(),), table=Table(1), held=(release(), None)))
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
                await store.commit(1, await store.observe(), Changes(slots=goals, jobs=(job(),)))
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
        commit = asyncio.create_task(store.commit(1, seen, Changes(slots=(goal(),))))
        done, _ = await asyncio.wait({commit}, timeout=0.3)
        assert not done
        await starter.commit()

    with pytest.raises(Stale):
        await commit
