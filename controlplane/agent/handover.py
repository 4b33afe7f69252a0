"""One agent gives the host up and another takes it: the host's lock passes between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import structlog

from controlplane.agent.loop import Agent
from controlplane.domain.errors import ControlError, HostTaken
from controlplane.domain.goals import AgentGoal
from controlplane.ports.clock import Clock
from controlplane.ports.succession import Stage, Succession

log = structlog.get_logger(__name__)
POLL_S = 0.1
# From giving the host up to being removed: one look at everything, and the engine's work.
TAKEOVER_S = 20.0
# A successor waits for as long as the slowest predecessor may take to see that it is there.
WAIT_S = 60.0


class Seat(Protocol):
    """The right to work for the host, which one agent has at a time."""

    def open(self) -> object:
        """Take it. Raises HostTaken."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


async def hand_over(
    agent: Agent,
    seat: Seat,
    step_down: Callable[[], Awaitable[None]],
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Give lead and host up, and return once we are asked to stop, as a successor does.

    One that ends, or does not, is removed: then the host is ours again and we go on.
    """
    goal = agent.heir
    assert goal is not None
    await step_down()
    seat.close()
    log.info("handed_over", release=goal.release.version)
    end = clock.monotonic() + TAKEOVER_S
    while not stop.is_set():
        detail = await _lost(agent.succession, goal)
        if not detail and clock.monotonic() > end:
            detail = "its successor took the host and did not remove the old agent in time."
        if detail:
            await _take_back(agent, seat, goal, detail, stop)
            return
        await _pause(stop)


async def await_host(
    succession: Succession, seat: Seat, clock: Clock, stopped: Callable[[], bool]
) -> None:
    """Take the host, as a successor when its predecessor leaves. Raises HostTaken."""
    if not await succession.announce():
        seat.open()
        return
    log.info("waits_for_the_host")
    end = clock.monotonic() + WAIT_S
    while clock.monotonic() < end and not stopped():
        with suppress(HostTaken):
            seat.open()
            return
        await asyncio.sleep(POLL_S)
    seat.open()


async def _lost(succession: Succession, goal: AgentGoal) -> str:
    """Why the successor will not come; empty while it may. An engine that is down tells nothing."""
    with suppress(ControlError):
        successor = await succession.look(goal)
        if successor.stage is Stage.ABSENT:
            return "its successor is gone."
        return successor.detail
    return ""


async def _take_back(
    agent: Agent, seat: Seat, goal: AgentGoal, detail: str, stop: asyncio.Event
) -> None:
    """Remove the successor and take the host again, as soon as the engine lets us."""
    while not stop.is_set():
        try:
            await agent.refuse(goal, detail)
            seat.open()
        except ControlError as error:
            log.warning("host_not_taken_back", code=error.code, detail=error.sentence)
            await _pause(stop)
        else:
            log.warning("went_on", detail=detail)
            return


async def _pause(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await stop.wait()
