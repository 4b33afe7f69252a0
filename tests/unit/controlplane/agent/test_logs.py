"""The agent's answers for logs: bounded, and honest about an engine that is gone."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.agent.logs import LogReader, bounded
from controlplane.domain.errors import RuntimeUnavailable
from tests.build import OLD
from tests.fakes.logs import FakeLogs
from tests.fakes.runtime import FakeMachine, FakeRuntime
from tests.fakes.world import World
from tests.waiting import eventually


@pytest.fixture
def machine() -> FakeMachine:
    machine = FakeMachine(World(), "host-a")
    machine.preload(OLD)
    machine.begin(1, OLD)
    return machine


async def answered(machine: FakeMachine) -> tuple[str, ...]:
    logs = FakeLogs()
    reader = LogReader(logs.requests("host-a"), FakeRuntime(machine))
    asking = asyncio.create_task(logs.ask("host-a", 1, 5))
    assert await eventually(lambda: logs.waiting)
    await reader.tick()
    return await asking


async def test_question_is_answered_with_the_slots_lines(machine: FakeMachine) -> None:
    assert await answered(machine) == (f"started {OLD.version}",)


async def test_engine_that_is_gone_is_the_answer(machine: FakeMachine) -> None:
    machine.broken = True
    with pytest.raises(RuntimeUnavailable, match="does not answer"):
        await answered(machine)


def test_last_lines_that_fit_are_kept() -> None:
    assert bounded(("a" * 10, "b" * 5, "c" * 3), 10) == ("b" * 5, "c" * 3)
    assert bounded(("a" * 10,), 4) == ("aaaa",)
    assert bounded((), 4) == ()
