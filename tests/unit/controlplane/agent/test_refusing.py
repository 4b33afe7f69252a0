"""What an agent refuses to obey: the past, and what is not its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.errors import Fenced, HostTaken, NotFound
from controlplane.domain.goals import Goal
from tests.one_host import Ground


async def test_goals_of_a_lower_epoch_are_refused(ground: Ground) -> None:
    ground.want(Goal.RUN)
    ground.memory.remember(2)
    with pytest.raises(Fenced, match="epoch 2"):
        await ground.agent.tick()
    assert ground.machine.starts == 0


async def test_goals_of_a_lower_version_are_refused_by_the_next_agent_as_well(
    ground: Ground,
) -> None:
    ground.memory.act_on(9)
    ground.want(Goal.RUN)
    with pytest.raises(Fenced, match="goals of version 9"):
        await ground.agent.tick()
    assert ground.machine.starts == 0


async def test_who_refuses_the_past_still_tells_what_runs(ground: Ground) -> None:
    ground.want(Goal.RUN)
    await ground.agent.tick()
    ground.memory.remember(9)
    ground.want(Goal.STOP)
    with pytest.raises(Fenced, match="epoch 9"):
        await ground.agent.tick()
    report = ground.store.hosts[ground.agent.host].report
    assert report is not None
    assert (report.epoch, [s.slot for s in report.slots]) == (9, [1])
    assert "epoch 9" in report.runtime_error
    assert not ground.machine.slots[1].stopping


async def test_highest_epoch_is_remembered_before_it_is_obeyed(ground: Ground) -> None:
    ground.store.issued = 7
    await ground.agent.tick()
    assert ground.memory.epoch() == 7


async def test_host_that_the_environment_does_not_know_says_so(ground: Ground) -> None:
    ground.agent.host = "host-z"
    with pytest.raises(NotFound, match="host-z"):
        await ground.agent.tick()


async def test_second_agent_of_a_host_does_nothing_and_says_whose_it_is(ground: Ground) -> None:
    ground.want(Goal.RUN)
    ground.store.hosts["host-a"] = replace(ground.store.hosts["host-a"], holder="first")
    ground.touched()
    with pytest.raises(HostTaken, match="Agent first works for host-a"):
        await ground.agent.tick()
    assert (ground.machine.starts, ground.agent.yields()) == (0, True)
    assert ground.store.hosts["host-a"].report is None


async def test_agent_claims_its_host_before_it_acts(ground: Ground) -> None:
    ground.agent.id = "first"
    ground.want(Goal.RUN)
    await ground.agent.tick()
    assert ground.store.hosts["host-a"].holder == "first"
    assert ground.machine.starts == 1
