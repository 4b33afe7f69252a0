"""The demo's instances as containers of one Docker engine, their images from a real registry.

Containers and this machine meet at the engine's bridge: there the servers listen as well, and
there the instances' ports are published. So the engine must share this machine's network.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import docker

from controlplane.adapters.docker import container as docker_container
from controlplane.adapters.docker.engine import Engine, EngineUnavailable, epoch_s
from controlplane.adapters.registry.oci import OciRegistry
from controlplane.demo import leftovers
from controlplane.demo.bundles import RELEASES
from controlplane.demo.images import REGISTRY, Builder, Change, push, start_registry
from controlplane.demo.measure.sampler import Process
from controlplane.demo.stage import DemoFailed, Servers, settings
from controlplane.demo.sweeper import mark
from controlplane.domain.image import release_of
from controlplane.domain.model import Release
from controlplane.embedded.kept import Bridge, Server

# A push compresses whole layers between two words.
TIMEOUT_S = 300
INSTALL = "on Debian, as root: `containers/base/engine.sh install`"
RUN = "`containers/base/engine.sh run ./justw demo --runtime docker`"


class Containers:
    """Instances that agents start as containers of DOCKER_HOST's engine.

    Everything is found again by `environment`, a name of this folder's own. `changes` make the
    releases out of the tree at `sources`.
    """

    def __init__(
        self, folder: Path, sources: Path, changes: Mapping[str, Change] = RELEASES
    ) -> None:
        self.environment = f"demo-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        self.containers = self.environment
        self.bridge: Bridge | None = None
        self._folder, self._sources, self._changes = folder, sources, changes
        self._engine = Engine(timeout_s=TIMEOUT_S)
        self._token = secrets.token_urlsafe(24)
        # Containers listen on an address that others can reach.
        self.user_token = secrets.token_urlsafe(36)
        self._registry: Server | None = None
        self._known: dict[str, Process] = {}

    @property
    def repository(self) -> str:
        assert self._registry is not None
        return leftovers.repository(f"127.0.0.1:{self._registry.port}", self.environment)

    async def prepare(self) -> None:
        for program in ("docker", REGISTRY):
            if shutil.which(program) is None:
                raise DemoFailed(f"{program} is not on PATH; install it ({INSTALL}).")
        try:
            network = await self._engine.aside(lambda client: client.inspect_network("bridge"))
        except EngineUnavailable as error:
            raise DemoFailed(
                f"{error.sentence.partition(';')[0]}; start it, or, on Debian and as root, let one"
                f" come and go with the demo: {RUN}."
            ) from error
        self.bridge = _bridge(network["IPAM"]["Config"][0])
        await asyncio.to_thread(leftovers.remove, self.environment)

    async def releases(self, say: Callable[[str], None]) -> Sequence[Release]:
        self._registry = await asyncio.to_thread(start_registry, self._folder / "registry")
        say(f"A registry answers on port {self._registry.port}")
        log = self._folder / "logs" / "images.log"
        builder = Builder(self._sources, self.repository, log, mark(self._folder), say)
        await asyncio.to_thread(builder.build, self._changes)
        async with OciRegistry() as registry:
            return [await self._published(registry, version, say) for version in self._changes]

    async def _published(
        self, registry: OciRegistry, version: str, say: Callable[[str], None]
    ) -> Release:
        await self._engine.aside(lambda client: push(client, self.repository, version))
        found = release_of(await registry.resolve(f"{self.repository}:{version}"))
        say(f"{version} is in the registry: {found.digest[:19]}")
        return found

    def agent(self, servers: Servers) -> tuple[tuple[str, ...], dict[str, str]]:
        assert self.bridge is not None
        environ = {n: v for n, v in os.environ.items() if n.startswith("DOCKER_")}
        # Agents do not reach a container over its loopback, so a drain needs the token.
        environ |= {"CAMP_AGENT_TOKEN": self._token}
        file = self.env_file(servers)
        arguments = ("--runtime", "docker", "--env-file", str(file))
        return (*arguments, "--address", self.bridge.address), environ

    def env_file(self, servers: Servers) -> Path:
        """Write what containers are told."""
        assert self.bridge is not None
        file = self._folder / "camp.env"
        file.touch(0o600)
        # The engine copies every line.
        told = {**settings(servers, self.bridge.address), "LOG_LEVEL": "warning"}
        told["DEV_MOCK_TOKEN"] = self.user_token
        file.write_text("".join(f"{name}={value}\n" for name, value in told.items()))
        return file

    async def living(self) -> Sequence[Process]:
        return await self._engine.aside(self._living)

    async def end(self) -> None:
        """The sweeper removes containers, and nothing is lost with them."""

    async def close(self) -> None:
        self._engine.close()
        if self._registry is not None:
            await asyncio.to_thread(self._registry.stop)

    def _living(self, client: docker.APIClient) -> list[Process]:
        labels = [f"camp.environment={self.environment}", "camp.slot"]
        listed = client.containers(filters={"label": labels})
        alive = [each["Id"] for each in listed if each["State"] in docker_container.ALIVE]
        found = [(id_, self._known.get(id_) or _identify(client, id_)) for id_ in alive]
        self._known = {id_: process for id_, process in found if process is not None}
        return list(self._known.values())


def _identify(client: docker.APIClient, container_id: str) -> Process | None:
    try:
        inspected = client.inspect_container(container_id)
    except docker.errors.NotFound:
        return None
    container = docker_container.parsed(inspected)
    began_at = epoch_s(container.begun)
    instance = f"{container.labels['camp.host']}/{container.slot}"
    return Process(inspected["State"]["Pid"], instance, container.address, began_at, began_at)


def _bridge(config: Mapping[str, str]) -> Bridge:
    """Raises DemoFailed when this machine is not at the other end of it."""
    subnet = config["Subnet"]
    # Some engines name the gateway only when it is not the subnet's first address.
    first = str(ipaddress.ip_network(subnet, strict=False)[1])
    found = Bridge(config.get("Gateway") or first, subnet)
    try:
        with socket.create_server((found.address, 0)):
            return found
    except OSError as error:
        raise DemoFailed(
            f"The Docker engine's bridge has the address {found.address}, which is"
            " not this machine's: the engine runs elsewhere, in a virtual machine or rootless."
            " Use one that shares this machine's network."
        ) from error
