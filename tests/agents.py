"""A site of real parts for tests: agents as programs, servers, and stand-in releases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.model import Kind, Policy, Rollout, State
from controlplane.domain.policy import Draft
from controlplane.ports.ledger import Start
from tests.hosts import processes
from tests.standin import stand_in
from tests.waiting import eventually

QUICK = Policy(
    instances_per_host=1,
    min_healthy_s=0.3,
    bake_s=0.3,
    start_deadline_s=4.0,
    drain_deadline_s=5.0,
    stop_grace_s=2.0,
)
# Generous: what is waited for here takes seconds, on a loaded machine many of them.
LONG_S = 90.0


@dataclass
class Site:
    """One environment with hosts host-a and host-b; everything it started ends with it."""

    folder: Path
    engine: AsyncEngine
    environ: dict[str, str]
    edge: str
    environment: str = "local"
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def ledger(self) -> PostgresLedger:
        return PostgresLedger(self.engine)

    @property
    def store(self) -> PostgresStore:
        return PostgresStore(self.engine, self.environment)

    async def apply(self, policy: Policy = QUICK, *edges: str) -> None:
        draft = Draft(self.environment, ("host-a", "host-b"), edges or (self.edge,), policy)
        await self.ledger.apply(draft, "alice")

    def command(self, host: str, environment: str = "", folder: str = "") -> list[str]:
        place = ["--host", host, "--folder", str(self.folder / (folder or host))]
        chosen = environment or self.environment
        return [sys.executable, "-m", "camp", "agent", "--environment", chosen, *place]

    def start(self, host: str, **environ: str) -> None:
        log = (self.folder / f"{host}.log").open("ab")
        with log:
            self.agents[host] = subprocess.Popen(
                self.command(host), env=self.environ | environ, stdout=log, stderr=log
            )

    def start_twin(self, host: str) -> Path:
        """Another machine under the name of a host: its log."""
        name = f"{host}-twin"
        path = self.folder / f"{name}.log"
        with path.open("ab") as log:
            self.agents[name] = subprocess.Popen(
                self.command(host, folder=name), env=self.environ, stdout=log, stderr=log
            )
        return path

    def kill(self, host: str) -> None:
        agent = self.agents.pop(host)
        agent.kill()
        agent.wait()

    async def roll(self, version: str, **behaviour: object) -> str:
        """Start a rollout to a stand-in release; its id."""
        release = stand_in(self.folder / "bundles", version, **behaviour)
        await self.ledger.add_release(release, "alice")
        begun = await self.ledger.start(Start(self.environment, Kind.DEPLOY, version, "alice"))
        return begun.id

    async def ended(self, rollout: str) -> Rollout:
        """The rollout once it is over."""

        async def over() -> bool:
            return not (await self.ledger.rollout(rollout)).active

        assert await eventually(over, LONG_S), await self.ledger.rollout(rollout)
        return await self.ledger.rollout(rollout)

    async def deployed(self, version: str) -> None:
        assert (await self.ended(await self.roll(version))).state is State.SUCCEEDED

    def end(self) -> None:
        for agent in self.agents.values():
            agent.send_signal(signal.SIGTERM)
        for agent in self.agents.values():
            agent.wait(10)
        for host in ("host-a", "host-b"):
            for process in processes(self.folder / host):
                process.kill()


@contextmanager
def site(
    folder: Path, engine: AsyncEngine, database_url: str, redis_url: str, edge: str
) -> Iterator[Site]:
    environ = os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    environ |= {"ENVIRONMENT": "local"}
    made = Site(folder, engine, environ, edge)
    try:
        yield made
    finally:
        made.end()
