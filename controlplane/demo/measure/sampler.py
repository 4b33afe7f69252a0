"""Looks at the fleet without asking the control plane: processes, the edge, the instances.

A sample first probes every living instance and then reads the edge's table. So an address that
counts as in service was ready a moment ago and is still routed to; one that left the table in
between does not count as missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from controlplane.demo.measure.http1 import Broken, Http

PROBE_TIMEOUT_S = 2.0


class Body(msgspec.Struct, frozen=True):
    """The part of a readiness answer that is looked at."""

    version: str
    streams: int
    requests: int


@dataclass(frozen=True, slots=True)
class Process:
    """One instance's process, in a container or not; `instance` is its host and slot.

    `started_at` tells two processes of one number apart; `began_at` is in true epoch seconds.
    """

    pid: int
    instance: str
    address: str
    started_at: float
    began_at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What an instance said; `version` is empty when it said nothing."""

    process: Process
    ready: bool = False
    version: str = ""
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One look, finished at `at` (epoch seconds); `table` are the addresses the edge uses."""

    at: float
    table: frozenset[str]
    instances: tuple[Seen, ...]

    @property
    def ready(self) -> int:
        """Addresses that the edge uses and that answer ready."""
        return sum(seen.ready and seen.process.address in self.table for seen in self.instances)

    @property
    def total(self) -> int:
        """Processes of instances, in service or not."""
        return len(self.instances)


@dataclass(slots=True)
class Sampler:
    """Samples of the `living` instances and of one edge, `interval_s` apart."""

    living: Callable[[], Awaitable[Iterable[Process]]]
    edge_api: str
    environment: str
    interval_s: float
    samples: list[Sample] = field(default_factory=list)
    _clients: dict[str, Http] = field(default_factory=dict)

    async def run(self) -> None:
        """Sample for ever."""
        try:
            while True:
                due = time.monotonic() + self.interval_s
                with suppress(Broken):  # an edge that does not answer gives no sample
                    self.samples.append(await self._sample())
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            for client in self._clients.values():
                client.close()

    def between(self, begin: float, end: float) -> list[Sample]:
        return [s for s in self.samples if begin <= s.at <= end]

    async def _sample(self) -> Sample:
        processes = await self.living()
        seen = await asyncio.gather(*(self._probe(process) for process in processes))
        table = await self._table()
        return Sample(time.time(), table, tuple(seen))

    async def _probe(self, process: Process) -> Seen:
        """Ask once; a loaded machine that does not answer in time is asked once more."""
        for _ in range(2):
            try:
                status, content = await self._client(process.address).request(
                    "GET", "/health/ready", None, PROBE_TIMEOUT_S
                )
                body = msgspec.json.decode(content, type=Body)
            except (Broken, msgspec.DecodeError):
                continue
            idle = body.streams == body.requests == 0
            return Seen(process, status == 200, body.version, idle)
        return Seen(process)

    async def _table(self) -> frozenset[str]:
        path = f"/api/http/services/camp-{self.environment}@redis"
        where = urlsplit(self.edge_api).netloc
        status, content = await self._client(where).request("GET", path, None, PROBE_TIMEOUT_S)
        if status != 200:
            return frozenset()
        servers = msgspec.json.decode(content).get("loadBalancer", {}).get("servers", [])
        return frozenset(urlsplit(server["url"]).netloc for server in servers)

    def _client(self, address: str) -> Http:
        if address not in self._clients:
            host, _, port = address.rpartition(":")
            self._clients[address] = Http(host, int(port), {})
        return self._clients[address]
