"""The checks of a rollout: the service is used as a user would, before it counts as held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain import gates
from controlplane.domain.actions import Plan, RunChecks
from controlplane.domain.gates import Wait
from controlplane.domain.goals import Job, JobState
from controlplane.domain.model import Kind, OnFailure, Policy, Rollout, State
from controlplane.domain.planner import plan
from tests.build import NEW, fleet, full, instance, rollout

URL = "http://edge"
POLICY = Policy(smoke_url=URL, bake_s=0.0)
VERIFYING = rollout(State.VERIFYING, policy=POLICY)
COMMAND = ("smoke", "--timeout", "10", URL)
FIRST, SECOND = (f"{VERIFYING.id}/smoke-{VERIFYING.state_since:.3f}-{n}" for n in (1, 2))


def job(state: JobState, host: str = "host-a", name: str = FIRST, detail: str = "") -> Job:
    return Job(name, host, NEW, COMMAND, state, detail)


def step(*jobs: Job, verifying: Rollout = VERIFYING, silent: str = "") -> Plan:
    held = [replace(instance(i.name, NEW), silent=i.host == silent) for i in full()]
    return plan(verifying, fleet(*held, jobs=jobs), verifying.policy, verifying.state_since + 1)


def test_service_is_checked_once_by_the_release_itself() -> None:
    assert step().actions == (RunChecks(job(JobState.WAITING)),)
    waits = step(job(JobState.RUNNING))
    assert waits.blocker is not None
    assert (waits.actions, waits.blocker.code) == ((), "checks_running")


def test_release_holds_when_its_checks_pass() -> None:
    assert step(job(JobState.SUCCEEDED)).state is State.SUCCEEDED


def test_one_failure_is_tried_again_from_another_host() -> None:
    again = step(job(JobState.FAILED))
    assert again.actions == (RunChecks(job(JobState.WAITING, "host-b", SECOND)),)


@pytest.mark.parametrize(
    ("on_failure", "state"),
    [(OnFailure.ROLLBACK, State.ROLLING_BACK), (OnFailure.PAUSE, State.PAUSED)],
)
def test_second_failure_gives_the_release_up(on_failure: OnFailure, state: State) -> None:
    careful = replace(VERIFYING, policy=replace(POLICY, on_failure=on_failure))
    failed = job(JobState.FAILED), job(JobState.FAILED, "host-b", SECOND, "files: 503")
    given_up = step(*failed, verifying=careful)
    assert given_up.state is state
    assert given_up.cause == f"The checks of {URL} failed 2 times: files: 503"


def test_checks_begin_anew_after_a_pause() -> None:
    failed = job(JobState.FAILED), job(JobState.FAILED, "host-b", SECOND)
    resumed = replace(VERIFYING, state_since=VERIFYING.state_since + 60)
    (run,) = step(*failed, verifying=resumed).actions
    assert isinstance(run, RunChecks)
    assert run.job.id.endswith("-1")


def test_checks_of_a_lost_host_are_repeated_elsewhere() -> None:
    held = [replace(instance(i.name, NEW), silent=i.host == "host-a") for i in full()]
    found = gates.checks(VERIFYING, fleet(*held, jobs=(job(JobState.RUNNING),)))
    assert isinstance(found, Job)
    assert found.host == "host-c"


def test_nobody_able_is_said() -> None:
    held = [replace(instance(i.name, NEW), silent=True) for i in full()]
    assert isinstance(gates.checks(VERIFYING, fleet(*held)), Wait)


def test_way_back_is_not_checked() -> None:
    back = replace(VERIFYING, kind=Kind.ROLLBACK)
    assert step(verifying=back).state is State.SUCCEEDED


def test_migration_does_not_count_as_a_check_nor_the_checks_as_a_migration() -> None:
    migrated = Job(f"{VERIFYING.id}/1", "host-a", NEW, ("migrate", "upgrade"), JobState.FAILED)
    assert isinstance(step(migrated).actions[0], RunChecks)
    behind = fleet(*full(), schema=frozenset({"0001"}), jobs=(job(JobState.FAILED),))
    assert isinstance(gates.migration(rollout(State.MIGRATING), behind), Job)
