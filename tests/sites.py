"""A site whose agents run containers: one environment, two hosts, one engine."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker

from controlplane.adapters.postgres.engine import open_engine
from controlplane.domain.model import Kind, Rollout, State
from controlplane.domain.reports import HostReport
from controlplane.ports.ledger import Start
from tests.agents import LONG_S, QUICK, Site
from tests.containers import Images
from tests.waiting import eventually

# A container takes longer to start than a process, the longest while others do.
PATIENT = replace(QUICK, start_deadline_s=8.0)


@dataclass(kw_only=True)
class DockerSite(Site):
    """Agents of a site with `--runtime docker`; `client` is the engine they use."""

    images: Images
    client: docker.DockerClient
    blockers: set[tuple[str, str]] = field(default_factory=set)

    def command(self, host: str, environment: str = "", folder: str = "") -> list[str]:
        secret = self.folder / "camp.env"
        secret.touch(0o600)
        chosen = ["--runtime", "docker", "--env-file", str(secret)]
        return [*super().command(host, environment, folder), *chosen]

    async def roll(self, version: str, **behaviour: object) -> str:
        release = self.images.release(version, **behaviour)
        await self.ledger.add_release(release, "alice")
        begun = await self.ledger.start(Start(self.environment, Kind.DEPLOY, version, "alice"))
        return begun.id

    async def look(self, rollout: str) -> Rollout:
        """The rollout now; what it waits for is remembered in `blockers`."""
        found = await self.ledger.rollout(rollout)
        if found.blocker:
            self.blockers.add((found.blocker.code, found.blocker.sentence))
        return found

    async def ended(self, rollout: str) -> Rollout:
        async def over() -> bool:
            return not (await self.look(rollout)).active

        assert await eventually(over, LONG_S), await self.look(rollout)
        return await self.look(rollout)

    async def report(self, host: str) -> HostReport | None:
        rows = (await self.store.observe()).hosts
        return next(row.report for row in rows if row.name == host)

    def containers(self, **labels: str) -> list[Any]:
        wanted = {"environment": self.environment, **labels}
        filters: dict[str, Any] = {
            "label": [f"camp.{name}={value}" for name, value in wanted.items()]
        }
        # Each one is inspected after it was listed, and may be gone by then.
        found: list[Any] = self.client.containers.list(
            all=True, ignore_removed=True, filters=filters
        )
        return found

    async def deployed(self, version: str) -> None:
        ended = await self.ended(await self.roll(version))
        assert ended.state is State.SUCCEEDED, ended.cause

    def end(self) -> None:
        super().end()
        for container in self.containers():
            container.remove(force=True, v=True)
        for host in ("host-a", "host-b"):
            for image in self.client.images.list(f"camp/{self.environment}/{host}"):
                for tag in image.tags:
                    self.client.images.remove(tag)


@asynccontextmanager
async def docker_site(
    folder: Path, environ: dict[str, str], edge: str, images: Images, client: docker.DockerClient
) -> AsyncIterator[DockerSite]:
    """`environ` says where the servers and the engine are, as agents are told."""
    engine = open_engine(environ["DATABASE_URL"])
    name = f"e{secrets.token_hex(4)}"
    site = DockerSite(folder, engine, environ, edge, environment=name, images=images, client=client)
    try:
        await site.apply(PATIENT)
        yield site
    finally:
        site.end()
        await engine.dispose()
