"""Hosts for tests on a real Docker engine, and images that hold the stand-in for camp."""

from __future__ import annotations

import io
import os
import secrets
import signal
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker

from controlplane.adapters.docker.container import Placement
from controlplane.adapters.docker.engine import Engine
from controlplane.adapters.docker.runtime import DockerRuntime
from controlplane.domain.model import Release
from controlplane.ports.runtime import Runtime
from tests.fakes.registry import FakeRegistry, fake_registry
from tests.standin import program
from tests.waiting import eventually

DOCKERFILE = """
FROM {base}
COPY camp.py /camp.py
LABEL org.opencontainers.image.version={version} org.opencontainers.image.revision=abc
LABEL camp.schema.head=0002 camp.schema.min=0001 camp.config.hash=cfg
ENTRYPOINT ["python3", "-u", "/camp.py"]
"""
SECRET = "open sesame"


class Images:
    """Builds stand-ins `FROM base` and pushes them; each is built once."""

    def __init__(self, client: docker.DockerClient, registry: str, base: str) -> None:
        self.client = client
        self.registry = registry
        self.base = base
        self.built: dict[str, Release] = {}

    def release(self, version: str, **behaviour: Any) -> Release:
        code = program(version, **behaviour)
        if code not in self.built:
            self.built[code] = self._build(version, code)
        return self.built[code]

    def _build(self, version: str, code: str) -> Release:
        api, repository = self.client.api, f"{self.registry}/stand-in"
        files = {"Dockerfile": DOCKERFILE.format(base=self.base, version=version), "camp.py": code}
        name, tag = f"{repository}:{version}", version
        lines = api.build(
            fileobj=tarred(files), custom_context=True, tag=name, rm=True, decode=True
        )
        assert not [line for line in lines if "error" in line]
        pushed = [*api.push(repository, tag=tag, stream=True, decode=True)]
        digests = [line["aux"]["Digest"] for line in pushed if "aux" in line]
        assert digests, pushed
        # What a host has to pull must not be here already.
        api.remove_image(name, force=True)
        image = f"{repository}@{digests[0]}"
        return Release(version, digests[0], image, "abc", "0002", "0001", "cfg")


class DockerGround:
    """One host of an environment of its own."""

    def __init__(self, folder: Path, images: Images, liar: FakeRegistry, **placement: Any) -> None:
        self.images = images
        self.liar = liar
        self.folder = folder
        secret = folder / "camp.env"
        secret.write_text(f"# secrets\nOPENAI_API_KEY={SECRET}\nSETTING=first\n")
        secret.chmod(0o600)
        self.placement = Placement(
            environment=f"e{secrets.token_hex(4)}",
            host="host-a",
            address="127.0.0.1",
            env_file=secret,
            **placement,
        )
        self.opened = self._open()
        self.runtime: Runtime = self.opened

    def release(self, version: str = "1.0.0", **behaviour: Any) -> Release:
        if "damaged" not in behaviour:
            return self.images.release(version, **behaviour)
        entry = self.liar.image()
        digest = entry["digest"]
        kind, body = self.liar.content[digest]
        self.liar.content[digest] = (kind, body + b" ")
        image = f"{self.liar.address}/stand-in@{digest}"
        return Release(version, digest, image, "abc", "0002", "0001", "cfg")

    def agent_restarts(self, **placement: Any) -> None:
        self.opened.close()
        self.placement = replace(self.placement, **placement)
        self.runtime = self.opened = self._open()

    def agent_restarts_with(self, setting: str) -> None:
        file = self.placement.env_file
        file.write_text(file.read_text().replace("SETTING=first", f"SETTING={setting}"))
        self.agent_restarts()

    def crash(self, slot: int) -> None:
        os.kill(self.container(slot).attrs["State"]["Pid"], signal.SIGKILL)

    def container(self, slot: int) -> Any:
        (found,) = self.containers(f"camp.slot={slot}")
        return found

    def containers(self, *labels: str) -> list[Any]:
        wanted = [f"camp.environment={self.placement.environment}", *labels]
        found: list[Any] = self.images.client.containers.list(
            all=True, ignore_removed=True, filters={"label": wanted}
        )
        return found

    async def until(self, holds: Callable[[], Awaitable[object]]) -> bool:
        return await eventually(holds, deadline_s=30.0)

    def _open(self) -> DockerRuntime:
        return DockerRuntime(self.folder / "home", self.placement, Engine()).open()


@contextmanager
def docker_ground(folder: Path, images: Images, **placement: Any) -> Iterator[DockerGround]:
    with fake_registry() as liar:
        ground = DockerGround(folder, images, liar, **placement)
        try:
            yield ground
        finally:
            ground.opened.close()
            for container in ground.containers():
                container.remove(force=True, v=True)
            for image in images.client.images.list(ground.placement.images):
                for tag in image.tags:
                    images.client.images.remove(tag)


def tarred(files: dict[str, str]) -> io.BytesIO:
    """A context to build from."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    made.seek(0)
    return made
