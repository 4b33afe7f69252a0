from __future__ import annotations

import pytest

from camp.lifecycle import Lifecycle
from tests.waiting import eventually


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_new_instance_is_idle_and_in_service() -> None:
    lifecycle = Lifecycle()
    assert lifecycle.idle
    assert not lifecycle.draining.is_set()


def test_stream_is_no_request_but_keeps_the_instance_busy() -> None:
    lifecycle = Lifecycle()
    with lifecycle.request(), lifecycle.request(), lifecycle.chat_stream():
        assert (lifecycle.requests, lifecycle.chat_streams) == (1, 1)
    assert lifecycle.idle


def test_count_falls_when_the_work_fails() -> None:
    lifecycle = Lifecycle()
    with pytest.raises(KeyError), lifecycle.request(), lifecycle.event_stream():
        raise KeyError
    assert lifecycle.idle


async def test_drain_is_told_at_once_and_expires_at_the_deadline() -> None:
    lifecycle = Lifecycle()
    lifecycle.drain(0.02)
    assert lifecycle.draining.is_set()
    assert not lifecycle.expired.is_set()
    assert await eventually(lifecycle.expired.is_set)


async def test_earliest_deadline_counts() -> None:
    clock = Clock()
    lifecycle = Lifecycle(clock)
    lifecycle.drain(60)
    lifecycle.drain(600)
    assert lifecycle.deadline == 160
    clock.now += 1
    lifecycle.drain(0)
    assert lifecycle.deadline == 101
    assert await eventually(lifecycle.expired.is_set)


async def test_quiet_is_counted_from_the_drain_or_from_the_last_work_after_it() -> None:
    clock = Clock()
    lifecycle = Lifecycle(clock)
    clock.now += 9
    assert lifecycle.quiet_s == 0
    lifecycle.drain(60)
    clock.now += 2
    assert lifecycle.quiet_s == 2
    with lifecycle.request():
        assert lifecycle.quiet_s == 0
    clock.now += 1
    assert lifecycle.quiet_s == 1


def test_uptime_follows_the_clock() -> None:
    clock = Clock()
    lifecycle = Lifecycle(clock)
    clock.now += 5
    assert lifecycle.uptime_s == 5
