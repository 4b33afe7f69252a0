"""What every store must do, the one in PostgreSQL and the fake alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.errors import Fenced, Stale
from controlplane.domain.goals import Goal
from controlplane.domain.model import (
    Policy,
    State,
    enter,
)
from controlplane.domain.records import LOOK_VALID_S, Changes, HostRow
from controlplane.domain.routing import Member, Table
from tests.stores import (
    ENVIRONMENT,
    LEADER,
    Ground,
    goal,
    host,
    job,
    lead,
    release,
    report,
    rollout,
)


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
        lost_edges=frozenset({"http://127.0.0.1:1"}),
    )

    await ground.store.commit(1, LEADER, await lead(ground.store), changes)

    now = await ground.store.observe()
    assert now.lost_edges == changes.lost_edges
    assert now.slots == (goal("a", 1), goal("b", 2, Goal.DRAIN))
    assert now.table == changes.table
    assert now.jobs == (job(),)
    assert host(now, "b").images == (release(), release("1.1.0"))
    assert (now.environment.current, now.environment.previous) == changes.held
    assert now.environment.version == ENVIRONMENT.version
    assert tuple(await ground.events()) == changes.events


async def test_jobs_are_seen_in_the_order_of_their_attempts(ground: Ground) -> None:
    await ground.start(rollout())
    tried = tuple(job(f"r-1/{n}") for n in range(1, 12))

    await ground.store.commit(1, LEADER, await lead(ground.store), Changes(jobs=tried))

    desired = await ground.store.desired("a")
    assert (await ground.store.observe()).jobs == tried
    assert desired is not None
    assert desired.jobs == tried


async def test_attempts_of_checks_are_counted_on_their_own(ground: Ground) -> None:
    await ground.start(rollout())
    tried = tuple(job(f"r-1/smoke-1700000000.250-{n}") for n in (9, 10))

    await ground.store.commit(1, LEADER, await lead(ground.store), Changes(jobs=tried))

    assert (await ground.store.observe()).jobs == tried


async def test_a_rollout_survives_the_round_trip_one_version_further(ground: Ground) -> None:
    await ground.start(rollout())
    seen = await lead(ground.store)
    assert seen.rollout == rollout()

    await ground.store.commit(1, LEADER, seen, Changes(rollout=replace(rollout(), progress=3)))

    assert (await ground.store.observe()).rollout == replace(rollout(), progress=3, version=2)


async def test_how_far_a_wait_has_come_is_seen_without_a_version_or_an_event(
    ground: Ground,
) -> None:
    await ground.start(rollout())
    before = await lead(ground.store)

    await ground.store.commit(1, LEADER, before, Changes(detail="3 of 166 MB are here."))

    seen = (await ground.store.observe()).rollout
    blocker = rollout().blocker
    assert blocker is not None
    told = replace(blocker, detail="3 of 166 MB are here.")
    assert seen == replace(rollout(), blocker=told)
    assert await ground.events() == []
    # Whoever looked before may still write: nothing that is planned from has changed.
    await ground.store.commit(1, LEADER, before, Changes(slots=(goal(),)))


async def test_a_finished_rollout_is_kept_but_no_longer_active(ground: Ground) -> None:
    await ground.start(rollout())
    done = enter(rollout(), State.SUCCEEDED, 50.0)

    await ground.store.commit(1, LEADER, await lead(ground.store), Changes(rollout=done))

    assert (await ground.store.observe()).rollout is None
    assert await ground.stored() == replace(done, version=2)
    await ground.start(rollout("r-2"))
    following = (await ground.store.observe()).rollout
    assert following is not None
    assert following.id == "r-2"


async def test_a_release_held_for_the_first_time_has_none_to_go_back_to(ground: Ground) -> None:
    await ground.store.commit(1, LEADER, await lead(ground.store), Changes(held=(release(), None)))

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
    await ground.store.commit(1, LEADER, await lead(ground.store), changes)

    versions = {row.name: row.desired_version for row in (await ground.store.observe()).hosts}
    assert versions == {name: int(name in touched) for name in ("a", "b")}


async def test_goals_are_replaced_and_freed_by_host_and_slot(ground: Ground) -> None:
    seen = await lead(ground.store)
    await ground.store.commit(
        1, LEADER, seen, Changes(slots=(goal("a", 1), goal("a", 2), goal("b", 1)))
    )
    seen = await ground.store.observe()

    changes = Changes(slots=(goal("a", 1, Goal.STOP),), freed=(("a", 2),))
    await ground.store.commit(1, LEADER, seen, changes)

    assert (await ground.store.observe()).slots == (goal("a", 1, Goal.STOP), goal("b", 1))


async def test_images_of_untouched_hosts_stay(ground: Ground) -> None:
    seen = await lead(ground.store)
    await ground.store.commit(1, LEADER, seen, Changes(images=(("a", (release(),)),)))
    seen = await ground.store.observe()

    await ground.store.commit(1, LEADER, seen, Changes(slots=(goal("a"),), images=(("b", ()),)))

    assert host(await ground.store.observe(), "a").images == (release(),)


async def test_another_holder_of_the_same_epoch_writes_nothing(ground: Ground) -> None:
    """PostgreSQL that went back in time issues the same epoch a second time."""
    seen = await lead(ground.store)

    with pytest.raises(Fenced):
        await ground.store.commit(1, "leader-2", seen, Changes(slots=(goal(),)))

    assert (await ground.store.observe()).slots == ()


async def test_an_outdated_epoch_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    assert await ground.store.claim_epoch("leader-2", 1)

    with pytest.raises(Fenced):
        await ground.store.commit(
            1, LEADER, seen, Changes(slots=(goal(),), events=(("step", "x"),))
        )

    assert (await ground.store.observe()).slots == ()
    assert await ground.events() == []


async def test_an_epoch_that_was_never_issued_writes_nothing(ground: Ground) -> None:
    with pytest.raises(Fenced):
        await ground.store.commit(7, LEADER, await lead(ground.store), Changes(slots=(goal(),)))


async def change_policy(ground: Ground) -> None:
    await ground.apply(replace(ENVIRONMENT, policy=Policy(max_surge=2)))


async def steer_rollout(ground: Ground) -> None:
    await ground.steer(enter(rollout(), State.PAUSED, 9.0))


async def report_from_a_host(ground: Ground) -> None:
    await ground.store.report(report("b"))


async def commit_a_goal(ground: Ground) -> None:
    await ground.store.commit(1, LEADER, await ground.store.observe(), Changes(slots=(goal("b"),)))


async def commit_a_table(ground: Ground) -> None:
    await ground.store.commit(1, LEADER, await ground.store.observe(), Changes(table=Table(1)))


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
        await ground.store.commit(1, LEADER, seen, Changes(slots=(goal("a"),), table=Table(9)))

    after = await ground.store.observe()
    assert replace(after, now=before.now) == before


async def test_a_plan_made_before_a_rollout_began_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    await ground.start(rollout())

    with pytest.raises(Stale):
        await ground.store.commit(1, LEADER, seen, Changes(slots=(goal(),)))


async def test_a_rollout_that_is_not_the_active_one_is_not_written(ground: Ground) -> None:
    await ground.start(rollout())

    with pytest.raises(Stale):
        await ground.store.commit(
            1, LEADER, await lead(ground.store), Changes(rollout=rollout("r-9"))
        )


async def test_a_look_that_is_too_old_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    too_old = replace(seen, now=seen.now - LOOK_VALID_S - 0.1)

    with pytest.raises(Stale):
        await ground.store.commit(1, LEADER, too_old, Changes(slots=(goal(),)))

    assert (await ground.store.observe()).slots == ()


async def test_a_look_from_before_the_clock_went_back_writes_nothing(ground: Ground) -> None:
    seen = await lead(ground.store)
    to_come = replace(seen, now=seen.now + LOOK_VALID_S + 1.0)

    with pytest.raises(Stale, match="old"):
        await ground.store.commit(1, LEADER, to_come, Changes(slots=(goal(),)))


async def test_a_repeated_report_does_not_make_a_plan_stale(ground: Ground) -> None:
    await ground.store.report(report())
    seen = await lead(ground.store)
    await ground.store.report(report())

    await ground.store.commit(1, LEADER, seen, Changes(slots=(goal(),)))

    assert (await ground.store.observe()).slots == (goal(),)


async def test_of_two_commits_from_one_look_only_one_is_written(ground: Ground) -> None:
    seen = await lead(ground.store)
    commits = [ground.store.commit(1, LEADER, seen, Changes(slots=(goal("a", i),))) for i in (1, 2)]

    ended = await asyncio.gather(*commits, return_exceptions=True)

    assert sorted(type(end).__name__ for end in ended) == ["NoneType", "Stale"]
    assert len((await ground.store.observe()).slots) == 1
