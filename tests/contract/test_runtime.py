"""What every runtime must do, processes and the fake alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.goals import Job, JobState
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport, JobReport
from controlplane.ports.runtime import KEPT_RUNS, Running
from tests.hosts import FakeGround, Ground, image, only, pulled, real_ground

GRACE_S = 5.0
SHORT_GRACE_S = 0.3


@pytest.fixture(params=["fake", "process"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    if request.param == "fake":
        yield FakeGround()
        return
    with real_ground(tmp_path) as made:
        yield made


async def started(ground: Ground, **behaviour: Any) -> Running:
    await ground.runtime.start(1, await pulled(ground, ground.release(**behaviour)))
    return await only(ground)


async def test_runtime_sees_which_bytes_and_settings_a_process_was_started_with(
    ground: Ground,
) -> None:
    one = await started(ground)
    assert one.digest == one.spec.digest
    assert one.environ == await ground.runtime.environ()
    assert one.environ["SETTING"] == "first"
    ground.agent_restarts_with("second")
    assert (await only(ground)).environ == one.environ
    assert (await ground.runtime.environ())["SETTING"] == "second"
    assert "first" not in repr(one)


async def started_deaf(ground: Ground) -> None:
    """Start an instance that ignores SIGTERM, and wait until it does."""
    await started(ground, ignores_sigterm=True)
    assert await ground.until(lambda: ground.runtime.logs(1, 1))


async def ended(ground: Ground) -> bool:
    return not (await only(ground)).alive


async def crashed(ground: Ground, before: Running) -> bool:
    """Ended, or started again already: an engine may be faster than two looks."""
    running = await only(ground)
    return not running.alive or running.started > before.started


async def freed(ground: Ground) -> bool:
    return not await ground.runtime.running()


async def job_report(ground: Ground, job: Job) -> JobReport:
    (report,) = [j for j in await ground.runtime.jobs() if j.id == job.id]
    return report


async def job_over(ground: Ground, job: Job) -> bool:
    return (await job_report(ground, job)).state is not JobState.RUNNING


def migration(release: Release, job_id: str = "r-1/1") -> Job:
    return Job(job_id, "host-a", release, ("migrate", "upgrade"))


async def test_pulled_image_is_reported_as_present(ground: Ground) -> None:
    release = ground.release()
    assert await ground.runtime.images() == ()
    await ground.runtime.pull(release)
    await ground.runtime.pull(release)
    assert await ground.until(lambda: image(ground, release))
    assert await ground.runtime.images() == (ImageReport(release.digest, present=True),)


async def test_bytes_with_another_digest_are_a_permanent_error(ground: Ground) -> None:
    release = await pulled(ground, ground.release(damaged=True))
    report = await image(ground, release)
    assert report is not None
    assert (report.present, report.permanent) == (False, True)
    assert report.error


async def test_image_survives_the_agent(ground: Ground) -> None:
    release = await pulled(ground, ground.release())
    ground.agent_restarts()
    assert await image(ground, release) == ImageReport(release.digest, present=True)


async def test_started_slot_is_listed_with_its_spec(ground: Ground) -> None:
    running = await started(ground)
    assert running.slot == 1
    assert running.spec == ground.release().spec
    assert running.alive
    assert not running.stopping


async def test_start_in_a_slot_that_lives_changes_nothing(ground: Ground) -> None:
    before = await started(ground)
    await ground.runtime.start(1, await pulled(ground, ground.release("2.0.0")))
    assert await only(ground) == before


async def test_slots_have_addresses_of_their_own(ground: Ground) -> None:
    first = await started(ground)
    await ground.runtime.start(2, ground.release())
    addresses = {r.address for r in await ground.runtime.running()}
    assert len(addresses) == 2
    assert first.address in addresses


async def test_start_without_the_bytes_leaves_a_dead_slot_that_says_why(ground: Ground) -> None:
    await ground.runtime.start(1, ground.release())
    running = await only(ground)
    assert not running.alive
    assert "pull them first" in running.detail


async def test_crashed_instance_stays_listed_as_not_alive(ground: Ground) -> None:
    await started(ground, crash="no memory")
    assert await ground.until(lambda: ended(ground))
    ground.agent_restarts()
    assert await ended(ground)


async def test_crashed_instance_can_be_started_again(ground: Ground) -> None:
    before = await started(ground)
    ground.crash(1)
    assert await ground.until(lambda: crashed(ground, before))
    await ground.runtime.start(1, ground.release())
    after = await only(ground)
    assert after.alive
    assert after.started > before.started


async def test_instance_started_again_has_another_address(ground: Ground) -> None:
    before = await started(ground, crash="no memory")
    assert await ground.until(lambda: ended(ground))
    await ground.runtime.start(1, ground.release())
    assert (await only(ground)).address != before.address


async def test_crashed_instance_is_freed_by_stop(ground: Ground) -> None:
    await started(ground, crash="no memory")
    assert await ground.until(lambda: ended(ground))
    await ground.runtime.stop(1, GRACE_S)
    assert await freed(ground)


async def test_instance_outlives_the_agent_and_is_adopted(ground: Ground) -> None:
    before = await started(ground)
    ground.agent_restarts()
    assert await only(ground) == before


async def test_stopped_slot_is_stopping_until_it_is_gone(ground: Ground) -> None:
    await started_deaf(ground)
    await ground.runtime.stop(1, 1.0)
    assert (await only(ground)).stopping
    assert await ground.until(lambda: freed(ground))


async def test_stop_can_be_repeated_and_of_a_free_slot_does_nothing(ground: Ground) -> None:
    await started(ground)
    for _ in range(3):
        await ground.runtime.stop(1, GRACE_S)
    assert await ground.until(lambda: freed(ground))
    await ground.runtime.stop(1, GRACE_S)
    assert await freed(ground)


async def test_instance_that_ignores_the_request_is_ended_after_the_grace(ground: Ground) -> None:
    await started_deaf(ground)
    await ground.runtime.stop(1, SHORT_GRACE_S)
    assert await ground.until(lambda: freed(ground))


async def test_stop_goes_on_under_the_next_agent(ground: Ground) -> None:
    await started_deaf(ground)
    await ground.runtime.stop(1, 1.0)
    ground.agent_restarts()
    assert (await only(ground)).stopping
    assert await ground.until(lambda: freed(ground))


async def test_freed_slot_stays_free_under_the_next_agent(ground: Ground) -> None:
    await started(ground)
    await ground.runtime.stop(1, GRACE_S)
    assert await ground.until(lambda: freed(ground))
    ground.agent_restarts()
    assert await freed(ground)


async def test_prune_removes_what_is_neither_kept_nor_running(ground: Ground) -> None:
    running = await started(ground)
    kept = await pulled(ground, ground.release("2.0.0"))
    await pulled(ground, ground.release("3.0.0"))
    await ground.runtime.prune(frozenset({kept.digest}))
    left = {i.digest for i in await ground.runtime.images()}
    assert left == {running.spec.digest, kept.digest}


async def test_one_shot_run_succeeds_once(ground: Ground) -> None:
    job = migration(await pulled(ground, ground.release()))
    await ground.runtime.run_once(job)
    assert await ground.until(lambda: job_over(ground, job))
    assert (await job_report(ground, job)).state is JobState.SUCCEEDED
    await ground.runtime.run_once(job)
    assert (await job_report(ground, job)).state is JobState.SUCCEEDED


async def test_failed_one_shot_run_says_why(ground: Ground) -> None:
    job = migration(await pulled(ground, ground.release(job_code=3)))
    await ground.runtime.run_once(job)
    assert await ground.until(lambda: job_over(ground, job))
    report = await job_report(ground, job)
    assert report.state is JobState.FAILED
    assert report.detail


async def test_one_shot_run_without_the_bytes_fails(ground: Ground) -> None:
    job = migration(ground.release())
    await ground.runtime.run_once(job)
    assert (await job_report(ground, job)).state is JobState.FAILED


async def test_one_shot_run_outlives_the_agent_and_its_outcome_is_known(ground: Ground) -> None:
    job = migration(await pulled(ground, ground.release(job_s=0.5)))
    await ground.runtime.run_once(job)
    ground.agent_restarts()
    assert (await job_report(ground, job)).state is JobState.RUNNING
    assert await ground.until(lambda: job_over(ground, job))
    ground.agent_restarts()
    assert (await job_report(ground, job)).state is JobState.SUCCEEDED


async def test_ended_runs_are_forgotten_but_for_the_wanted_and_the_latest(ground: Ground) -> None:
    absent = ground.release()
    for n in range(KEPT_RUNS + 3):
        await ground.runtime.run_once(migration(absent, f"r-1/{n}"))
    assert len(await ground.runtime.jobs()) == KEPT_RUNS + 3

    await ground.runtime.forget_jobs(frozenset({"r-1/0"}))

    left = {int(j.id.removeprefix("r-1/")) for j in await ground.runtime.jobs()}
    assert left == {0, *range(3, KEPT_RUNS + 3)}


async def test_run_that_goes_on_is_not_forgotten(ground: Ground) -> None:
    release = await pulled(ground, ground.release(job_s=60.0))
    job = migration(release, "r-1/0")
    await ground.runtime.run_once(job)
    absent = ground.release("2.0.0")
    for n in range(1, KEPT_RUNS + 2):
        await ground.runtime.run_once(migration(absent, f"r-1/{n}"))

    await ground.runtime.forget_jobs(frozenset())

    assert (await job_report(ground, job)).state is JobState.RUNNING
    assert len(await ground.runtime.jobs()) == KEPT_RUNS + 1


async def test_log_lines_are_the_last_ones_of_the_slot(ground: Ground) -> None:
    await started(ground)

    async def written() -> bool:
        return len(await ground.runtime.logs(1, 1)) == 1

    assert await ground.until(written)
    assert "1.0.0" in (await ground.runtime.logs(1, 1))[0]
    assert await ground.runtime.logs(9, 5) == ()
