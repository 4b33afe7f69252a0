"""What every store must do with reports, and what it tells hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.errors import NotFound, StoreUnavailable
from controlplane.domain.goals import JobState
from controlplane.domain.model import (
    Policy,
    State,
    enter,
)
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.records import Changes
from controlplane.domain.reports import PullReport
from tests.fakes.newer import newer
from tests.stores import (
    ENVIRONMENT,
    LEADER,
    FakeGround,
    Ground,
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
from tests.waiting import eventually


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
    await ground.store.commit(1, LEADER, await lead(ground.store), Changes(jobs=(job(),)))

    assert await ground.store.report(ran(JobState.RUNNING)) is True

    assert host(await ground.store.observe(), "a").report_version == 2


async def test_jobs_of_earlier_rollouts_are_neither_observed_nor_desired(ground: Ground) -> None:
    await with_job(ground)
    done = enter(rollout(), State.FAILED, 50.0)
    await ground.store.commit(1, LEADER, await ground.store.observe(), Changes(rollout=done))
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
    await ground.store.commit(1, LEADER, await lead(ground.store), changes)

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
        lambda: store.commit(1, LEADER, seen, Changes(slots=(goal(),))),
        lambda: store.desired("a"),
        lambda: store.claim("a", "first"),
        lambda: store.tell((("instance", "a/1 ended"),)),
        lambda: store.report(report()),
    ):
        with pytest.raises(StoreUnavailable):
            await call()

    await ground.find_again()

    assert replace(await store.observe(), now=seen.now) == seen


async def test_progress_of_a_pull_is_seen_and_no_news(ground: Ground) -> None:
    pulls = [(PullReport("sha256:1.1.0", n, 166_000_000),) for n in (0, 9_000_000)]
    await ground.store.report(report(pulls=pulls[0]))
    before = await ground.store.observe()

    assert await ground.store.report(report(pulls=pulls[1])) is False

    row = host(await ground.store.observe(), "a")
    assert row.report == report(pulls=pulls[1])
    assert row.report_version == host(before, "a").report_version


async def test_what_a_run_says_is_seen_and_no_news_until_it_ends(ground: Ground) -> None:
    await with_job(ground)
    told = [
        await ground.store.report(ran(state, detail))
        for state, detail in (
            (JobState.RUNNING, "0002 applied"),
            (JobState.RUNNING, "0003 applied"),
            (JobState.SUCCEEDED, "done"),
        )
    ]

    seen = await ground.store.observe()
    assert told == [True, False, True]
    assert (seen.jobs[0].state, seen.jobs[0].detail) == (JobState.SUCCEEDED, "done")
    assert host(seen, "a").report == ran(JobState.SUCCEEDED, "done")
    assert host(seen, "a").report_version == 2


async def test_words_of_a_run_are_planned_from_at_the_next_look(ground: Ground) -> None:
    await with_job(ground)
    await ground.store.report(ran(JobState.RUNNING, "0002 applied"))

    await ground.store.report(ran(JobState.RUNNING, "0003 applied"))

    assert (await ground.store.observe()).jobs[0].detail == "0003 applied"


async def test_a_report_nobody_can_read_costs_that_host_only(ground: Ground) -> None:
    store = ground.store
    await store.report(report("a"))
    await store.report(report("b"))

    assert await store.report(newer(report("b"))) is True
    assert await store.report(newer(report("b"))) is False

    seen = await store.observe()
    assert (host(seen, "a").report, host(seen, "a").unread) == (report("a"), None)
    unread = host(seen, "b").unread
    assert host(seen, "b").report is None
    assert unread is not None
    assert (unread.protocol, unread.agent_version) == (PROTOCOL + 1, "9.0.0")
    assert "warming" in unread.problem
    assert host(seen, "b").report_version == 2


async def test_what_can_be_read_again_is_believed_again(ground: Ground) -> None:
    await ground.store.report(newer(report()))

    assert await ground.store.report(report()) is True

    row = host(await ground.store.observe(), "a")
    assert (row.report, row.unread) == (report(), None)


async def test_a_field_of_a_later_release_is_passed_over(ground: Ground) -> None:
    await ground.store.report(newer(replace(report(), slots=())))

    row = host(await ground.store.observe(), "a")
    assert row.unread is None
    assert row.report is not None
    assert row.report.agent_version == "9.0.0"


async def test_a_job_state_of_a_later_release_is_not_planned_from(ground: Ground) -> None:
    await with_job(ground)
    said = replace(ran(JobState.RUNNING).jobs[0], state="skipped")  # type: ignore[arg-type]  # newer
    await ground.store.report(newer(report(jobs=(said,))))

    (stored,) = (await ground.store.observe()).jobs
    assert stored.state is JobState.WAITING


async def test_only_the_agent_that_has_the_host_is_listened_to(ground: Ground) -> None:
    store = ground.store
    assert [await store.claim("a", who) for who in ("first", "second", "first")] == ["first"] * 3

    answers = [
        await store.report(report(agent_id="first")),
        await store.report(report(agent_id="second")),
    ]

    row, desired = host(await store.observe(), "a"), await store.desired("a")
    assert answers == [True, False]
    assert (row.report, row.holder) == (report(agent_id="first"), "first")
    assert row.rival is not None
    assert row.rival.agent == "second"
    assert desired is not None
    assert desired.holder == "first"


async def test_a_silent_host_passes_to_the_agent_that_keeps_asking(ground: Ground) -> None:
    await ground.apply(replace(ENVIRONMENT, policy=Policy(host_silence_s=0.2)))
    await ground.store.claim("a", "first")
    await ground.store.report(report(agent_id="first"))

    async def passed() -> bool:
        if isinstance(ground, FakeGround):
            ground.fake.world.now += 0.05
        return await ground.store.claim("a", "second") == "second"

    assert not await passed()
    assert await eventually(passed)
    assert host(await ground.store.observe(), "a").rival is None
    assert await ground.store.report(report(agent_id="first")) is False


async def test_what_an_agent_tells_is_in_the_log(ground: Ground) -> None:
    await ground.store.tell((("instance", "a/1 ended; restart 1 of 3"),))
    assert await ground.events() == [("instance", "a/1 ended; restart 1 of 3")]


async def test_a_claim_of_an_unknown_host_says_so(ground: Ground) -> None:
    with pytest.raises(NotFound, match="stranger"):
        await ground.store.claim("stranger", "first")
