"""Asking instances on virtual time."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from controlplane.ports.health import Probe
from tests.fakes.runtime import FakeMachine
from tests.fakes.world import World


class FakeHealth:
    """The health port over fake machines; an address is `host:port`."""

    def __init__(self, world: World, machines: Mapping[str, FakeMachine]) -> None:
        self._world = world
        self._machines = machines

    async def probe(self, address: str) -> Probe:
        return (await self.probe_all((address,)))[address]

    async def probe_all(self, addresses: Collection[str]) -> dict[str, Probe]:
        if addresses:
            await self._world.point("health.probe")
        return {address: self._answer(address) for address in addresses}

    def _answer(self, address: str) -> Probe:
        machine = self._machines.get(address.partition(":")[0])
        process = machine.at(address) if machine else None
        now = self._world.now
        if machine is None or process is None or not process.up(now):
            return SILENT
        ready, streams = machine.ready(process), process.streams(now)
        probe = process.probe
        if probe is None or probe.ready != ready or probe.streams != streams:
            spec = process.behaviour.answers_as or process.spec
            leaves = process.draining or process.stopping
            detail = "" if ready else "draining" if leaves else "not ready"
            probe = process.probe = Probe(ready, spec, streams, streams, detail, leaves)
        return probe

    async def drain_all(self, deadlines_s: Mapping[str, float]) -> None:
        for address, deadline_s in deadlines_s.items():
            await self.drain(address, deadline_s)

    async def drain(self, address: str, deadline_s: float) -> None:
        await self._world.point("health.drain")
        machine = self._machines.get(address.partition(":")[0])
        process = machine.at(address) if machine else None
        if process is not None and process.up(self._world.now):
            ends = self._world.now + min(process.behaviour.streams_s, deadline_s)
            process.streams_end = min(process.streams_end, ends)
            process.draining = True
        await self._world.point("health.drain.done")


SILENT = Probe(False, detail="nothing answers")
