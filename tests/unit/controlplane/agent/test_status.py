"""What an agent makes of one slot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.agent import status
from controlplane.agent.status import Watch
from controlplane.domain.model import Policy
from controlplane.domain.reports import Phase
from controlplane.ports.health import Probe
from controlplane.ports.runtime import Running
from tests.build import NEW, OLD

POLICY = Policy(min_healthy_s=2.0, start_deadline_s=10.0, drain_deadline_s=5.0, max_restarts=1)
UP = Running(1, OLD.spec, "host-a:1", alive=True, started=0.0)
ENDED = replace(UP, alive=False)
READY = Probe(ready=True, spec=OLD.spec)
UNREADY = Probe(ready=False, spec=OLD.spec)
MUTE = Probe(ready=False)


def after(*probes: tuple[float, Probe], watch: Watch | None = None) -> Watch:
    watch = watch or Watch(0.0)
    for now, probe in probes:
        watch = status.probed(watch, probe, OLD.spec, POLICY, now)
    return watch


def test_ready_becomes_healthy_only_without_a_break() -> None:
    watch = after((1.0, READY), (2.0, READY))
    assert status.phase(watch, UP, POLICY, 2.9) is Phase.READY
    assert status.phase(watch, UP, POLICY, 3.0) is Phase.HEALTHY
    broken = after((1.0, READY), (2.0, UNREADY), (2.5, READY))
    assert status.phase(broken, UP, POLICY, 3.0) is Phase.READY


def test_ready_answer_of_another_release_is_not_ready() -> None:
    other = after((1.0, Probe(ready=True, spec=NEW.spec)))
    assert status.phase(other, UP, POLICY, 1.0) is Phase.STARTING


def test_instance_that_never_gets_ready_fails_after_its_start_deadline() -> None:
    watch = after((1.0, UNREADY), (10.0, UNREADY))
    assert status.phase(watch, UP, POLICY, 10.0) is Phase.STARTING
    assert status.phase(watch, UP, POLICY, 10.1) is Phase.FAILED


def test_instance_that_is_ready_now_and_then_fails_after_its_start_deadline() -> None:
    flaps = after(*((float(n), READY if n % 2 else UNREADY) for n in range(1, 61)))
    long_s = POLICY.start_deadline_s + POLICY.min_healthy_s + 1
    assert status.phase(flaps, UP, POLICY, long_s) is Phase.FAILED


def test_instance_that_was_ready_has_as_long_to_come_back() -> None:
    watch = after((1.0, READY), (20.0, UNREADY), (25.0, UNREADY))
    assert status.phase(watch, UP, POLICY, 30.0) is Phase.UNREADY
    assert status.phase(watch, UP, POLICY, 30.1) is Phase.FAILED


def test_adopted_instance_is_not_called_new() -> None:
    watch = status.follow(None, UP, adopted=True)
    assert status.phase(after((1.0, UNREADY), watch=watch), UP, POLICY, 1.0) is Phase.UNREADY


@pytest.mark.parametrize("most", [0, 1, 3])
def test_more_restarts_than_allowed_are_a_failure(most: int) -> None:
    policy = replace(POLICY, max_restarts=most)
    watch = Watch(0.0, restarts=most)
    assert status.phase(watch, UP, policy, 1.0) is Phase.STARTING
    assert status.phase(watch, ENDED, policy, 1.0) is Phase.EXITED
    once_more = status.restarted(watch, 1.0)
    assert status.phase(once_more, ENDED, policy, 1.0) is Phase.FAILED


def test_restarts_wait_ever_longer_within_limits() -> None:
    waits = [status.restarted(Watch(0.0, restarts=n), 0.0).restart_at for n in (0, 1, 2, 2000)]
    assert waits == [0.25, 0.5, 1.0, status.MAX_BACKOFF_S]


def test_long_readiness_forgives_old_restarts() -> None:
    watch = after((1.0, READY), (10.9, READY), watch=Watch(0.0, restarts=1))
    assert watch.restarts == 1
    assert after((11.0, READY), watch=watch).restarts == 0


def test_restart_count_survives_the_restart() -> None:
    again = replace(UP, started=7.0)
    watch = status.follow(Watch(0.0, ever_ready=True, restarts=2), again, adopted=False)
    assert (watch.started, watch.restarts, watch.ever_ready) == (7.0, 2, False)


def test_drained_needs_two_quiet_looks_in_a_row() -> None:
    busy = replace(UNREADY, streams=1)
    watch = Watch(0.0, drain_since=0.0)
    for probe, done in [(UNREADY, False), (busy, False), (UNREADY, False), (UNREADY, True)]:
        watch = status.draining(watch, probe, 1.0)
        assert status.drained(watch, UP, POLICY, 1.0) is done


def test_no_answer_is_not_taken_for_quiet() -> None:
    watch = Watch(0.0, drain_since=0.0)
    for _ in range(5):
        watch = status.draining(watch, MUTE, 1.0)
    assert not status.drained(watch, UP, POLICY, 4.9)
    assert status.drained(watch, UP, POLICY, 5.0)


def test_who_has_ended_is_drained_and_has_no_address() -> None:
    told = status.report(Watch(0.0, drain_since=0.0), ENDED, MUTE, POLICY, 1.0)
    assert (told.drained, told.address, told.phase) == (True, "", Phase.EXITED)


def test_answer_that_the_runtime_does_not_bear_out_is_not_ready() -> None:
    other = replace(UP, digest=NEW.digest)
    probe = status.proven(READY, other)
    assert not probe.ready
    assert NEW.digest in probe.detail
    for known in ("", OLD.digest):
        assert status.proven(READY, replace(UP, digest=known)) == READY


def test_report_says_why_an_instance_is_not_ready() -> None:
    refused = replace(UNREADY, detail="no provider")
    assert status.report(Watch(0.0), UP, refused, POLICY, 1.0).detail == "no provider"
    assert status.report(after((1.0, READY)), UP, READY, POLICY, 1.0).detail == ""
