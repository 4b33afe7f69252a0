"""Agents in containers that are replaced by containers of another image.

The successor's container carries the goal it was started for and its predecessor's id as labels.
It says that it is ready in a file of the folder that both share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from controlplane.adapters.docker import agent as docker_agent
from controlplane.adapters.docker import look as docker_look
from controlplane.adapters.docker.container import Container, Placement, why_ended
from controlplane.adapters.docker.engine import CONFLICT, NOT_FOUND, Engine, passing, said
from controlplane.adapters.host.files import write_atomically
from controlplane.adapters.process.no_succession import NO_CONTAINER
from controlplane.domain.goals import AgentGoal
from controlplane.ports.succession import Stage, Successor

MOUNTINFO = Path("/proc/self/mountinfo")
STOP_S = 10
ELSEWHERE = (
    "its container is not on the engine that it works with."
    " Run it there, or set update_agents = false."
)


@dataclass(slots=True)
class DockerSuccession:
    """The succession of the agent in container `own_id`, which is empty outside of containers."""

    folder: Path
    placement: Placement
    engine: Engine
    own_id: str = field(default_factory=lambda: docker_agent.own_id(MOUNTINFO.read_text()))
    digest: str = ""
    version: str = ""
    obstacle: str = NO_CONTAINER
    refused: tuple[str, str] = ("", "")

    async def recognise(self) -> None:
        """Find out what this agent runs from. Raises EngineUnavailable."""
        if not self.own_id:
            return
        found = await self.engine.call(self._recognised)
        if found is None:
            self.own_id, self.obstacle = "", ELSEWHERE
            return
        own, image = found
        labels = own["Config"].get("Labels") or {}
        published = [name.partition("@")[2] for name in image.get("RepoDigests") or ()]
        self.digest = labels.get("camp.agent.digest") or next(iter(published), "")
        self.version = labels.get(docker_agent.VERSION, "")
        self.obstacle = docker_agent.obstacle(own, str(self.folder))

    async def begin(self, goal: AgentGoal) -> None:
        refused = await self.engine.call(lambda client: self._begin(client, goal))
        self.refused = (docker_agent.goal_label(goal), refused)

    async def look(self, goal: AgentGoal) -> Successor:
        return await self.engine.call(lambda client: self._look(client, goal))

    async def clear(self) -> None:
        await self.engine.call(self._clear)

    async def announce(self) -> bool:
        if not self.own_id or not await self.engine.call(self._predecessor):
            return False
        write_atomically(self._file, self.own_id.encode())
        return True

    async def finish(self) -> None:
        await self.engine.call(self._finish)

    @property
    def _file(self) -> Path:
        return self.folder / "successor"

    def _own(self, client: docker.APIClient) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        own = client.inspect_container(self.own_id)
        return own, client.inspect_image(own["Image"])

    def _recognised(
        self, client: docker.APIClient
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        try:
            return self._own(client)
        except NotFound:
            return None

    def _successors(self, client: docker.APIClient) -> tuple[Container, ...]:
        return docker_look.containers(
            client, self.placement, f"camp.agent.predecessor={self.own_id}"
        )

    def _begin(self, client: docker.APIClient, goal: AgentGoal) -> str:
        """Put the successor beside us; returns what the engine has against it, if it has."""
        self._clear(client)
        own, image = self._own(client)
        config, others = docker_agent.successor_config(self.placement, own, image, goal)
        name = docker_agent.successor_name(self.placement, goal)
        try:
            made = client.create_container_from_config(config, name)
            for network in others:
                client.connect_container_to_network(made["Id"], network)
            client.start(made["Id"])
        except APIError as error:
            return f"its successor could not be started: {said(error)}."
        return ""

    def _look(self, client: docker.APIClient, goal: AgentGoal) -> Successor:
        label = docker_agent.goal_label(goal)
        if self.refused[0] == label and self.refused[1]:
            return Successor(Stage.FAILED, self.refused[1])
        ours = [c for c in self._successors(client) if c.labels["camp.agent.goal"] == label]
        if not ours:
            return Successor(Stage.ABSENT)
        (successor,) = ours
        if not successor.alive:
            words = docker_look.last_words(client, successor)
            return Successor(Stage.FAILED, f"its successor {why_ended(successor, words)}.")
        ready = self._file.exists() and self._file.read_text() == successor.id
        return Successor(Stage.READY if ready else Stage.STARTING)

    def _clear(self, client: docker.APIClient) -> None:
        for successor in self._successors(client):
            _remove(client, successor.id)
        self._file.unlink(missing_ok=True)

    def _predecessor(self, client: docker.APIClient) -> Mapping[str, Any] | None:
        """The container whose place we take, unless it is gone already."""
        own = client.inspect_container(self.own_id)
        before = (own["Config"].get("Labels") or {}).get("camp.agent.predecessor", "")
        try:
            found: Mapping[str, Any] | None = (before and client.inspect_container(before)) or None
        except NotFound:
            return None
        return found

    def _finish(self, client: docker.APIClient) -> None:
        before = self._predecessor(client) if self.own_id else None
        if before is None:
            return
        # First what lets us come back by ourselves, then what cannot be taken back.
        policy: Any = before["HostConfig"].get("RestartPolicy") or docker_agent.NO_RESTART
        client.update_container(self.own_id, restart_policy=policy)
        with passing(NOT_FOUND):
            client.stop(before["Id"], timeout=STOP_S)
        _remove(client, before["Id"])
        self._file.unlink(missing_ok=True)
        client.rename(self.own_id, before["Name"].lstrip("/"))


def _remove(client: docker.APIClient, container: str) -> None:
    with passing(NOT_FOUND, CONFLICT):
        client.remove_container(container, force=True, v=False)
