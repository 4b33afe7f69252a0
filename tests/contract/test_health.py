"""What asking an instance must give, over HTTP and from the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.host.health import HttpHealth
from controlplane.domain.model import Release
from controlplane.ports.health import Health, Probe
from tests.fakes.backend import Backend
from tests.fakes.health import FakeHealth
from tests.fakes.runtime import Behaviour
from tests.hosts import FakeGround, Ground, only, pulled, real_ground

NOBODY = "127.0.0.1:1"


class Asked:
    """A host with one started instance, and the health port to ask it with."""

    def __init__(self, ground: Ground, health: Health) -> None:
        self.ground = ground
        self.health = health

    async def start(self, **behaviour: Any) -> tuple[str, Release]:
        release = await pulled(self.ground, self._release(**behaviour))
        await self.ground.runtime.start(1, release)
        return (await only(self.ground)).address, release

    async def answer(self, address: str, holds: Callable[[Probe], object]) -> Probe:
        """The first answer for which the condition holds."""
        probe = Probe(ready=False)

        async def found() -> object:
            nonlocal probe
            probe = await self.health.probe(address)
            return holds(probe)

        assert await self.ground.until(found), probe
        return probe

    def _release(self, **behaviour: Any) -> Release:
        release = self.ground.release(**behaviour)
        if isinstance(self.ground, FakeGround):
            self.ground.machine.behaviours[release.digest] = Behaviour(
                ready=behaviour.get("ready", True), streams_s=60.0 * behaviour.get("streams", 0)
            )
        return release


@pytest.fixture(params=["fake", "http"])
async def asked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Asked]:
    if request.param == "fake":
        fake = FakeGround()
        yield Asked(fake, FakeHealth(fake.world, {"host-a": fake.machine}))
        return
    health = HttpHealth("token")
    with real_ground(tmp_path) as real:
        yield Asked(real, health)
    await health.close()


async def test_ready_instance_says_what_it_is(asked: Asked) -> None:
    address, release = await asked.start()
    probe = await asked.answer(address, lambda p: p.ready)
    assert probe == Probe(ready=True, spec=release.spec)


async def test_unready_instance_still_says_what_it_is_and_why(asked: Asked) -> None:
    address, release = await asked.start(ready=False)
    probe = await asked.answer(address, lambda p: p.spec is not None)
    assert not probe.ready
    assert probe.spec == release.spec
    assert probe.detail


async def test_running_streams_are_counted_while_ready_and_while_draining(asked: Asked) -> None:
    address, _ = await asked.start(streams=1)
    assert (await asked.answer(address, lambda p: p.ready)).streams == 1
    await asked.health.drain(address, 30.0)
    assert (await asked.answer(address, lambda p: not p.ready)).streams == 1


async def test_drained_instance_is_not_ready_however_often_it_is_asked(asked: Asked) -> None:
    address, _ = await asked.start()
    await asked.answer(address, lambda p: p.ready)
    await asked.health.drain(address, 5.0)
    await asked.health.drain(address, 5.0)
    probe = await asked.health.probe(address)
    assert (probe.detail, probe.draining) == ("draining", True)


async def test_unreachable_instance_is_an_answer(asked: Asked) -> None:
    await asked.health.drain(NOBODY, 5.0)
    assert await asked.health.probe(NOBODY) == Probe(ready=False, detail="nothing answers")


async def test_stopped_instance_answers_no_more(asked: Asked) -> None:
    address, _ = await asked.start()
    await asked.answer(address, lambda p: p.ready)
    await asked.ground.runtime.stop(1, 5.0)
    assert (await asked.answer(address, lambda p: p.spec is None)).detail


async def test_server_that_is_silent_costs_no_more_than_the_timeout() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    held = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    health = HttpHealth(timeout_s=0.1)
    probe = await health.probe(f"127.0.0.1:{port}")
    assert probe == Probe(ready=False, detail="no answer within 0.1 s")
    held.set()
    await health.close()
    server.close()
    await server.wait_closed()


async def test_instances_that_hang_cost_no_more_than_one_of_them() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    held = asyncio.Event()
    servers = [await asyncio.start_server(silent, "127.0.0.1", 0) for _ in range(8)]
    addresses = [f"127.0.0.1:{each.sockets[0].getsockname()[1]}" for each in servers]
    health = HttpHealth(timeout_s=0.5)
    async with asyncio.timeout(2.0):
        answers = await health.probe_all(addresses)
        await health.drain_all(dict.fromkeys(addresses, 5.0))
    assert set(answers) == set(addresses)
    assert {probe.detail for probe in answers.values()} == {"no answer within 0.5 s"}
    held.set()
    await health.close()
    for each in servers:
        each.close()
        await each.wait_closed()


async def test_several_are_asked_at_once_and_each_answers_for_itself(asked: Asked) -> None:
    address, release = await asked.start()
    await asked.answer(address, lambda p: p.ready)
    answers = await asked.health.probe_all([address, NOBODY])
    assert answers[address] == Probe(ready=True, spec=release.spec)
    assert answers[NOBODY] == Probe(ready=False, detail="nothing answers")
    await asked.health.drain_all({address: 5.0, NOBODY: 5.0})
    assert (await asked.health.probe(address)).detail == "draining"


async def test_answer_of_something_else_is_not_taken_for_an_instance() -> None:
    health = HttpHealth()
    async with Backend() as stranger:
        probe = await health.probe(stranger.address)
    assert probe == Probe(ready=False, detail="what answers is not camp")
    await health.close()
