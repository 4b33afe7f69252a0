"""A service of Docker Swarm, and a follower that keeps the edge's table at its healthy tasks.

Swarm's own virtual IP is not used: tasks publish their port on the host, and the edge is the same
Traefik with the same settings as camp's. The follower is kinder than Swarm's own way into Traefik:
it looks ten times a second, and drops a task as soon as Swarm wants it gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from controlplane.adapters.docker.engine import Engine
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.demo.site import ended
from controlplane.domain.errors import ControlError
from controlplane.domain.routing import Member, Table

Say = Callable[[str], None]
# Higher than any leader's: camp's agents are gone by then.
EPOCH = 1_000_000
LOOK_S = 0.1
COMMAND_DEADLINE_S = 60.0
DEADLINE_S = 180.0
PORT = 8000


@dataclass
class Service:
    """One service of six tasks; times are wall-clock seconds."""

    name: str
    address: str
    engine: Engine
    routing: TraefikRouting
    revision: int = 0
    members: frozenset[Member] = field(default_factory=frozenset)
    following: asyncio.Task[None] | None = None

    async def create(self, image: str, options: Sequence[str], replicas: int) -> None:
        """Raises ControlError when not all tasks become healthy in time."""
        more = ("--detach", "--name", self.name, "--replicas", str(replicas))
        await _docker("service", "create", *more, *options, image)
        self.following = asyncio.create_task(self._follow())
        end = time.monotonic() + DEADLINE_S
        while len(self.members) < replicas:
            self._require()
            if time.monotonic() > end:
                raise ControlError(f"Only {len(self.members)} tasks of {replicas} got healthy.")
            await asyncio.sleep(LOOK_S)

    async def update(self, image: str) -> float:
        """Seconds until Swarm calls the update completed."""
        return await self._measured("completed", "update", "--image", image)

    async def rollback(self) -> float:
        """Seconds until Swarm calls the rollback completed."""
        return await self._measured("rollback_completed", "rollback")

    async def _measured(self, expected: str, command: str, *options: str) -> float:
        begun = time.time()
        await _docker("service", command, "--detach", *options, self.name)
        while True:
            self._require()
            state = (await self._inspected()).get("UpdateStatus", {}).get("State", "")
            if state == expected:
                return time.time() - begun
            if "paused" in state or time.time() - begun > DEADLINE_S:
                raise ControlError(f"Swarm's {command} is {state!r} instead of {expected}.")
            await asyncio.sleep(LOOK_S / 2)

    async def end(self) -> None:
        """Follow no longer; the swarm takes the service with it."""
        if self.following is not None:
            await ended(self.following)

    def _require(self) -> None:
        if self.following is not None and self.following.done():
            self.following.result()

    async def _follow(self) -> None:
        """Keep the edge's table at the tasks that run, for ever."""
        while True:
            due = time.monotonic() + LOOK_S
            members = frozenset(await self.engine.aside(self._healthy))
            if members != self.members:
                self.revision += 1
                await self.routing.publish(Table(self.revision, members), EPOCH)
                self.members = members
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _inspected(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.engine.aside(lambda c: c.inspect_service(self.name))
        return found

    def _healthy(self, client: docker.APIClient) -> list[Member]:
        """With a HEALTHCHECK, Swarm calls a task running once it is healthy."""
        wanted = {"service": self.name, "desired-state": "running"}
        return [
            Member("swarm", task["Slot"], f"{self.address}:{port['PublishedPort']}")
            for task in client.tasks(filters=wanted)
            if task["Status"]["State"] == "running"
            for port in task["Status"].get("PortStatus", {}).get("Ports", [])
        ]


async def require(engine: Engine) -> None:
    """Raises ControlError when the engine is in a swarm already."""
    info = await engine.aside(lambda client: client.info())
    state = info.get("Swarm", {}).get("LocalNodeState", "inactive")
    if state != "inactive":
        raise ControlError(
            f"The engine's swarm mode is {state}, and the benchmark would end it. Name another"
            " engine with DOCKER_HOST, or leave the swarm: `docker swarm leave --force`."
        )


@asynccontextmanager
async def swarm(address: str) -> AsyncIterator[None]:
    """Swarm mode of one node, left at the end together with its services."""
    await _docker("swarm", "init", "--advertise-addr", address)
    try:
        yield
    finally:
        await _docker("swarm", "leave", "--force")


async def remove_containers(label: str) -> None:
    """Remove what carries the label."""
    found = (await _docker("ps", "--all", "--quiet", "--filter", f"label={label}")).split()
    if found:
        await _docker("rm", "--force", "--volumes", *found)


def options(env_file: Path, parallelism: int, monitor_s: float, grace_s: float) -> list[str]:
    """What `docker service create` is told, for updates and rollbacks alike."""
    made = ["--env-file", str(env_file), "--publish", f"mode=host,target={PORT}"]
    made += ["--health-interval", "1s", "--stop-grace-period", f"{grace_s:g}s"]
    for what in ("update", "rollback"):
        made += [f"--{what}-parallelism", str(parallelism), f"--{what}-order", "start-first"]
        made += [f"--{what}-delay", "0s", f"--{what}-monitor", f"{monitor_s:g}s"]
    return made


async def _docker(*arguments: str) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(COMMAND_DEADLINE_S):
        out, err = await process.communicate()
    if process.returncode:
        raise ControlError(f"docker {' '.join(arguments[:2])} failed: {err.decode().strip()}")
    return out.decode()
