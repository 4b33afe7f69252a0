"""The agent over fakes: it carries out goals, measures, and reports what changed."""

from __future__ import annotations

import pytest

from controlplane.agent.loop import BUSY_S, CALM_S
from controlplane.domain.environs import whole
from controlplane.domain.errors import StoreUnavailable
from controlplane.domain.goals import Goal, Job, JobState
from controlplane.domain.reports import Phase
from controlplane.ports.runtime import KEPT_RUNS
from tests.build import NEW, OLD, rollout
from tests.fakes.health import FakeHealth
from tests.fakes.runtime import Behaviour
from tests.one_host import POLICY, Ground


async def test_missing_instance_is_started_and_becomes_healthy(ground: Ground) -> None:
    ground.want(Goal.RUN)
    assert await ground.agent.tick() == BUSY_S
    assert ground.machine.starts == 1
    await ground.ticks(1.5)
    assert ground.told().phase is Phase.HEALTHY
    assert await ground.agent.tick() == CALM_S


async def test_healthy_instance_is_not_asked_at_every_look(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    asked: list[float] = []
    ground.world.strikes["health.probe"] = lambda: asked.append(ground.world.now)
    for pause_s in (CALM_S, BUSY_S, CALM_S):
        ground.world.now += pause_s
        await ground.agent.tick()
    assert len(asked) == 2


async def test_running_instance_is_adopted_without_calling_it_new(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.machine.outages.append((0.0, 100.0))
    ground.agent = ground.born()
    await ground.agent.tick()
    assert ground.told().phase is Phase.UNREADY
    assert ground.machine.starts == 1


async def test_own_start_is_not_adopted_although_its_report_was_lost(ground: Ground) -> None:
    ground.want(Goal.RUN)
    ground.world.strikes["store.report"] = lambda: setattr(ground.store, "down", True)
    with pytest.raises(StoreUnavailable):
        await ground.agent.tick()
    ground.world.strikes.clear()
    ground.store.down = False
    await ground.agent.tick()
    assert ground.told().phase is Phase.STARTING


async def test_dead_instance_is_restarted_ever_more_slowly_and_then_failed(ground: Ground) -> None:
    ground.behaviours[OLD.digest] = Behaviour(start_s=0.1, crash_after_s=0.05)
    ground.want(Goal.RUN)
    await ground.ticks(0.5)
    assert ground.told().phase is Phase.EXITED
    await ground.ticks(4.0)
    assert ground.told().phase is Phase.FAILED
    assert 3 <= ground.machine.starts <= 6


async def test_end_of_an_instance_is_told_once_with_what_is_left_of_its_restarts(
    ground: Ground,
) -> None:
    said: list[str] = []
    ground.agent.say = lambda event, **_: said.append(event)
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.machine.slots[1].detail = "ended with signal 9"
    ground.machine.crash(1)
    await ground.ticks(1.5)
    told = [message for kind, message in ground.store.events if kind == "instance"]
    assert told == ["host-a/1 of 1.0.0 ended with signal 9; restart 1 of 2"]
    assert said == ["starts", "restarts"]


async def test_crashing_instance_does_not_fill_the_log(ground: Ground) -> None:
    ground.behaviours[OLD.digest] = Behaviour(start_s=0.1, crash_after_s=0.05)
    ground.want(Goal.RUN)
    await ground.ticks(120.0)
    told = [message for kind, message in ground.store.events if kind == "instance"]
    assert len(told) == POLICY.max_restarts + 1
    assert "counts as failed" in told[-1]


async def test_news_that_could_not_be_told_are_told_later(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.machine.crash(1)
    ground.world.strikes["store.tell"] = lambda: setattr(ground.store, "down", True)
    with pytest.raises(StoreUnavailable):
        await ground.agent.tick()
    ground.world.strikes.clear()
    ground.store.down = False
    await ground.agent.tick()
    assert [kind for kind, _ in ground.store.events] == ["instance"]


async def test_instance_is_drained_once_and_reported_when_its_streams_ended(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.want(Goal.DRAIN)
    await ground.ticks(0.9)
    assert not ground.told().drained
    await ground.ticks(0.6)
    assert ground.told().drained
    assert ground.machine.slots[1].draining


async def test_lost_drain_request_is_repeated(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.want(Goal.DRAIN)
    await ground.agent.tick()
    ground.machine.slots[1].draining = False
    await ground.agent.tick()
    assert ground.machine.slots[1].draining


async def test_silent_instance_is_drained_only_at_the_deadline(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.want(Goal.DRAIN)
    ground.agent.health = FakeHealth(ground.world, {})
    await ground.ticks(2.8)
    assert not ground.told().drained
    await ground.ticks(0.4)
    assert ground.told().drained


async def test_restart_of_the_agent_does_not_prolong_a_drain(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.want(Goal.DRAIN)
    for seconds in (2.5, 2.0, 1.0):
        ground.agent = ground.born()
        ground.agent.health = FakeHealth(ground.world, {})
        await ground.ticks(seconds)
    assert ground.told().drained


async def test_restarted_agent_leaves_a_drain_its_time(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.want(Goal.DRAIN)
    ground.agent = ground.born()
    ground.agent.health = FakeHealth(ground.world, {})
    await ground.ticks(POLICY.drain_deadline_s - 0.2)
    assert not ground.told().drained


async def test_drained_instance_that_is_to_run_after_all_begins_anew(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(3.0)
    ground.want(Goal.DRAIN)
    await ground.ticks(3.0)
    starts = ground.machine.starts
    ground.want(Goal.RUN)
    await ground.ticks(90.0)
    assert ground.machine.starts == starts + 1
    assert not ground.machine.slots[1].draining


async def test_drain_of_an_earlier_agent_that_nobody_remembers_begins_anew_as_well(
    ground: Ground,
) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(3.0)
    ground.want(Goal.DRAIN)
    await ground.agent.tick()
    starts = ground.machine.starts
    ground.want(Goal.RUN)
    ground.agent = ground.born()
    await ground.ticks(10.0)
    assert ground.machine.starts == starts + 1
    assert ground.told().phase is Phase.HEALTHY


async def test_stopped_instance_leaves_its_slot(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    ground.want(Goal.STOP)
    await ground.ticks(0.5)
    report = ground.store.hosts["host-a"].report
    assert report is not None
    assert report.slots == ()
    assert ground.machine.alive() == ()


async def test_slot_that_runs_another_release_than_its_goal_gets_the_right_one(
    ground: Ground,
) -> None:
    ground.machine.preload(NEW)
    ground.machine.begin(1, NEW)
    ground.want(Goal.RUN, OLD)
    await ground.ticks(3.0)
    assert ground.told().spec == OLD.spec
    assert ground.told().phase is Phase.HEALTHY


async def test_what_runs_without_a_goal_is_left_alone_and_reported(ground: Ground) -> None:
    ground.machine.begin(1, OLD)
    await ground.ticks(1.0)
    assert ground.told().spec == OLD.spec
    assert len(ground.machine.alive()) == 1


async def test_wanted_bytes_are_fetched_and_others_pruned(ground: Ground) -> None:
    ground.hold(NEW)
    await ground.agent.tick()
    ground.world.now += 1.0
    await ground.agent.tick()
    report = ground.store.hosts["host-a"].report
    assert report is not None
    assert [i.digest for i in report.images] == [NEW.digest]


async def test_prune_keeps_the_bytes_of_what_runs(ground: Ground) -> None:
    ground.want(Goal.RUN)
    ground.hold(NEW)
    await ground.ticks(2.0)
    assert ground.machine.has(OLD.digest)


async def test_job_runs_once_however_often_it_is_seen(ground: Ground) -> None:
    ground.store.rollout = rollout()
    ground.hold(OLD)
    job = Job("r1/1", "host-a", OLD, ("migrate", "upgrade"))
    ground.store.jobs[job.id] = job
    ground.touched()
    done: list[Job] = []
    ground.machine.on_job = done.append
    await ground.ticks(3.0)
    ground.agent = ground.born()
    await ground.ticks(1.0)
    assert done == [job]
    assert ground.store.jobs[job.id].state is JobState.SUCCEEDED


async def test_only_runs_that_are_still_wanted_are_reported(ground: Ground) -> None:
    ground.store.rollout = rollout()
    ground.hold(OLD)
    job = Job("r1/1", "host-a", OLD, ("migrate", "upgrade"))
    ground.store.jobs[job.id] = job
    ground.touched()
    said: list[tuple[JobState, ...]] = []
    for _ in range(6):
        await ground.agent.tick()
        ground.world.now += 0.5
        report = ground.store.hosts["host-a"].report
        assert report is not None
        said.append(tuple(j.state for j in report.jobs))
    assert (JobState.SUCCEEDED,) in said
    assert said[-1] == ()
    assert len(await ground.agent.runtime.jobs()) == 1


async def test_runtime_forgets_runs_that_nobody_wants(ground: Ground) -> None:
    ground.want(Goal.RUN)
    for n in range(KEPT_RUNS + 5):
        ground.machine.preload_job(Job(f"r0/{n}", "host-a", OLD, ("smoke",)), JobState.SUCCEEDED)
    await ground.agent.tick()
    assert len(ground.machine.runs) == KEPT_RUNS


async def test_report_is_announced_only_when_it_changed(ground: Ground) -> None:
    heard: list[str] = []
    ground.want(Goal.RUN)
    await ground.ticks(2.0)
    ground.redis.on_nudge = heard.append
    await ground.agent.tick()
    assert heard == []
    ground.machine.crash(1)
    await ground.agent.tick()
    assert heard == ["leader", "events"]


async def test_nothing_is_done_while_the_store_is_down(ground: Ground) -> None:
    ground.want(Goal.RUN)
    ground.store.down = True
    with pytest.raises(StoreUnavailable):
        await ground.agent.tick()
    assert ground.machine.starts == 0


async def test_environment_is_told_by_hashes_and_an_instance_keeps_the_one_it_began_with(
    ground: Ground,
) -> None:
    ground.store.secret = "key"
    ground.machine.environ = {"SECRET_KEY": "hunter2"}
    ground.want(Goal.RUN)
    await ground.ticks(1.5)
    before = ground.store.hosts["host-a"].report
    assert before is not None
    assert ground.told().environ == whole(before.environ) != ""
    assert "hunter2" not in repr(before)
    ground.machine.environ = {"SECRET_KEY": "changed"}
    await ground.agent.tick()
    after = ground.store.hosts["host-a"].report
    assert after is not None
    assert ground.told().environ == whole(before.environ) != whole(after.environ)


async def test_instance_of_other_bytes_is_not_ready_whatever_it_says(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(0.1)
    ground.machine.slots[1].digest = NEW.digest
    await ground.ticks(2.0)
    assert ground.told().phase is Phase.STARTING
    assert NEW.digest in ground.told().detail


async def test_failed_instance_does_not_keep_the_agent_busy(ground: Ground) -> None:
    ground.behaviours[OLD.digest] = Behaviour(start_s=0.1, ready=False)
    ground.want(Goal.RUN)
    await ground.ticks(6.0)
    assert ground.told().phase is Phase.FAILED
    assert await ground.agent.tick() == CALM_S


async def test_host_whose_engine_is_gone_reports_what_it_saw_last_and_why(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.ticks(2.0)
    before = ground.told()
    ground.machine.broken = True
    await ground.ticks(12.0)
    report = ground.store.hosts["host-a"].report
    assert report is not None
    assert "does not answer" in report.runtime_error
    assert (report.blind_s, ground.told()) == (10.0, before)
    ground.machine.broken = False
    await ground.agent.tick()
    report = ground.store.hosts["host-a"].report
    assert report is not None
    assert (report.runtime_error, report.blind_s) == ("", 0.0)


async def test_agent_born_beside_a_broken_engine_has_acted_on_nothing(ground: Ground) -> None:
    ground.machine.broken = True
    await ground.agent.tick()
    report = ground.store.hosts["host-a"].report
    assert report is not None
    assert (report.desired_version, report.slots) == (-1, ())
