"""Three hosts, each with an engine and an address of its own: agents that replace themselves
under load, and a host that is cut off amid a rollout and comes back.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from camp import __version__
from controlplane.client import ControlClient
from controlplane.demo import stage
from controlplane.demo.measure.loading import LoadProcess
from controlplane.demo.stage import Servers
from controlplane.domain.model import Release, State
from controlplane.wire import HostView, RolloutView
from tests.images import free_port
from tests.machines import Machine, Yard, yard
from tests.proxy import Proxy
from tests.registries import registry_at
from tests.served import serving
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

NAMES = ("host-a", "host-b", "host-c")
NEXT = "0.2.0"
# The same program under another version: what is compiled says so as well.
ANOTHER = f"""
FROM {{image}}
USER 0:0
RUN site=$(python -c 'import camp; print(camp.__path__[0])') \\
    && sed -i 's/{__version__}/{NEXT}/' "$site/__init__.py" \\
    && python -m compileall -qf --invalidation-mode unchecked-hash "$site/__init__.py"
USER 10001:10001
LABEL org.opencontainers.image.version={NEXT}
"""
POLICY = """
instances_per_host = 2
max_surge = 3
min_healthy_s = 0.5
bake_s = 1.0
start_deadline_s = 30.0
drain_deadline_s = 15.0
update_agents = true
"""
LONG_S = 180.0
RATE, STREAMS = 40.0, 6
USER_TOKEN = "only a test, but one that is hard to guess"


@dataclass(frozen=True)
class Published:
    """Two releases in a registry that the machines reach."""

    yard: Yard
    first: Release
    second: Release


@dataclass
class Site:
    """Servers, three agents in containers, and a client that steers them."""

    yard: Yard
    servers: Servers
    client: ControlClient
    folder: Path

    async def rolled(self, release: Release) -> RolloutView:
        begun = await self.client.start("local", release.version)
        return await self.client.wait(begun.id, LONG_S)

    async def agents(self) -> list[str]:
        return [host.agent_version for host in await self.hosts()]

    async def hosts(self) -> list[HostView]:
        return await self.client.hosts("local")

    async def serving(self, version: str) -> int:
        found = await self.client.instances("local")
        return sum(i.available and i.version == version for i in found)


@pytest.fixture(scope="module")
def published(
    engine: docker.DockerClient, image: str, registry: str, registry_data: Path
) -> Iterator[Published]:
    port = free_port()
    with yard(NAMES, port) as made, registry_at(f"{made.bridge.address}:{port}", registry_data):
        engine.images.get(image).tag(f"{registry}/camp", __version__)
        name = f"{registry}/camp:{NEXT}"
        engine.images.build(
            fileobj=_context(ANOTHER.format(image=image)), custom_context=True, tag=name, rm=True
        )
        digests = [_pushed(engine, f"{registry}/camp", tag) for tag in (__version__, NEXT)]
        found = [
            _release(engine, f"{registry}/camp:{tag}", f"{made.bridge.address}:{port}/camp", digest)
            for tag, digest in zip((__version__, NEXT), digests, strict=True)
        ]
        yield Published(made, *found)


@asynccontextmanager
async def opened(published: Published, folder: Path) -> AsyncIterator[Site]:
    """Everything up to agents of the first release that wait for a first rollout."""
    async with AsyncExitStack() as stack:
        bridge = published.yard.bridge
        servers = await stage.start_servers(folder, lambda _: None, bridge)
        stack.callback(servers.stop)
        servers.postgres.create_database("camp")
        environ = stage.environ(folder, servers)
        await stage.run_camp(("migrate", "upgrade"), environ, folder)
        token = await stage.run_camp(("operator", "create", "alice"), environ, folder)
        served = await stack.enter_async_context(
            serving(environ["DATABASE_URL"], environ["REDIS_URL"])
        )
        client = await stack.enter_async_context(ControlClient(served.url, token))
        steering = environ | {"CAMP_URL": served.url, "CAMP_TOKEN": token}
        # Agents read the edge back, and its API is on loopback only.
        edge = Proxy(servers.traefik.port, bridge.address)
        await edge.open()
        stack.push_async_callback(edge.cut)
        file = stage.environment_file(folder, servers, "local", POLICY)
        reached = f"http://{bridge.address}:{edge.port}"
        file.write_text(file.read_text().replace(servers.traefik.api_url, reached))
        await stage.run_camp(("env", "apply", str(file)), steering, folder)
        for release in (published.first, published.second):
            await client.add_release(release)
        told = stage.settings(servers, bridge.address) | {"CAMP_AGENT_TOKEN": "only a test"}
        told["DEV_MOCK_TOKEN"] = USER_TOKEN
        for machine in published.yard.machines:
            stack.callback(_cleared, machine)
            _start_agent(machine, published.first, told, folder)
        yield Site(published.yard, servers, client, folder)


async def test_agents_replace_themselves_under_load_and_no_request_fails(
    published: Published, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    async with opened(published, tmp_path) as site:
        first = await site.rolled(published.first)
        assert first.state is State.SUCCEEDED, first.cause
        assert await site.agents() == [__version__] * 3
        (tmp_path / "logs").mkdir(exist_ok=True)
        url = site.servers.traefik.url
        async with LoadProcess(url, RATE, STREAMS, tmp_path, USER_TOKEN) as load:
            assert await eventually(lambda: load.latest and load.latest.open >= STREAMS, 30)
            second = await site.rolled(published.second)
            final = await load.stop()
        assert second.state is State.SUCCEEDED, second.cause
        assert await site.agents() == [NEXT] * 3
        assert (final.failed, final.cut, final.failures) == (0, 0, ())
        figure(
            f"three hosts: {final.requests} requests, {final.failed} failed, {final.streams}"
            f" streams, {final.cut} cut, while 3 agents and 6 instances became {NEXT} in"
            f" {second.state_since - second.created_at:.0f} s"
        )


async def test_host_that_is_cut_off_amid_a_rollout_rejoins_it(
    published: Published, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    lost = published.yard.machines[1]
    async with opened(published, tmp_path) as site:
        assert (await site.rolled(published.first)).state is State.SUCCEEDED
        begun = await site.client.start("local", published.second.version)

        async def moving() -> bool:
            return await site.serving(NEXT) > 0

        async def silent() -> bool:
            return any(h.name == lost.name and h.silent for h in await site.hosts())

        async def waits() -> bool:
            blocker = (await site.client.why(begun.id)).blocker
            return blocker is not None and lost.name in blocker.sentence

        assert await eventually(moving, LONG_S)
        lost.cut_off()
        try:
            assert await eventually(silent, 30)
            assert await eventually(waits, 60)
            # What the others run is not touched, and neither is what the lost one runs.
            slots: dict[str, str | list[str] | bool] = {"label": "camp.slot"}
            alive = lost.docker.containers.list(ignore_removed=True, filters=slots)
            assert len(alive) >= 2
        finally:
            lost.rejoin()
        ended = await site.client.wait(begun.id, LONG_S)
        assert ended.state is State.SUCCEEDED, ended.cause
        assert await site.serving(NEXT) == 6
        figure(f"three hosts: cut off and rejoined, {ended.state_since - ended.created_at:.0f} s")


def _start_agent(machine: Machine, release: Release, told: dict[str, str], folder: Path) -> None:
    """As the documentation says, but as root, whom the engine's socket belongs to here."""
    secrets = machine.socket.parent / "camp.env"
    secrets.touch(0o600)
    secrets.write_text("".join(f"{name}={value}\n" for name, value in told.items()))
    run: Any = machine.docker.containers.run
    run(
        release.image,
        [
            *("agent", "--environment", "local", "--host", machine.name),
            *("--folder", "/var/lib/camp", "--address", machine.address),
            *("--runtime", "docker", "--env-file", "/etc/camp/camp.env"),
        ],
        name=f"agent-{machine.name}",
        detach=True,
        user="0:0",
        network_mode="host",
        read_only=True,
        environment=told | {"DOCKER_HOST": "unix:///run/docker.sock"},
        restart_policy={"Name": "unless-stopped"},
        volumes={
            str(machine.socket): {"bind": "/run/docker.sock", "mode": "rw"},
            str(secrets): {"bind": "/etc/camp/camp.env", "mode": "ro"},
            f"agent-{folder.name}": {"bind": "/var/lib/camp", "mode": "rw"},
        },
    )


def _cleared(machine: Machine) -> None:
    for container in machine.docker.containers.list(all=True, ignore_removed=True):
        if "camp.slot" not in container.labels:
            print(
                f"--- {machine.name}/{container.name}", container.logs(tail=40).decode(), sep="\n"
            )
        container.remove(force=True, v=True)


def _context(dockerfile: str) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile.encode())
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    made.seek(0)
    return made


def _pushed(engine: docker.DockerClient, repository: str, tag: str) -> str:
    said = [*engine.api.push(repository, tag=tag, stream=True, decode=True)]
    (digest,) = [line["aux"]["Digest"] for line in said if "aux" in line]
    return str(digest)


def _release(engine: docker.DockerClient, name: str, repository: str, digest: str) -> Release:
    labels = engine.images.get(name).labels
    return Release(
        version=labels["org.opencontainers.image.version"],
        digest=digest,
        image=f"{repository}@{digest}",
        revision=labels["org.opencontainers.image.revision"],
        schema_head=labels["camp.schema.head"],
        schema_min=labels["camp.schema.min"],
        config_hash="",
    )
