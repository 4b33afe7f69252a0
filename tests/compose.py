"""Builders for tests of compose.yaml: a copy of it that `docker compose` can bring up."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import httpx

from tests.images import ROOT, free_port
from tests.waiting import wait_until

COMPOSE_DEADLINE_S = 180
Filters = dict[str, str | list[str] | bool]


@dataclass
class Stack:
    """One project of compose.yaml, with an environment, ports and a token of its own."""

    folder: Path
    variables: dict[str, str]
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")
    http: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    control: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    token: str = ""
    signed_in: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "containers", self.folder, ignore=shutil.ignore_patterns(".env"))
        environment = self.folder / "environment.toml"
        environment.write_text(environment.read_text().replace("staging", self.name))

    @property
    def environ(self) -> dict[str, str]:
        ours = {
            "COMPOSE_PROJECT_NAME": self.name,
            "CAMP_ENVIRONMENT": self.name,
            "HTTP_ADDRESS": self.http,
            "CONTROL_ADDRESS": self.control,
        }
        return os.environ | ours | self.variables

    def prepare(self, image: str) -> subprocess.CompletedProcess[str]:
        return self._run([str(self.folder / "prepare.sh"), image])

    def told(self, name: str) -> str:
        """What containers/.env says."""
        lines = (self.folder / ".env").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def tell(self, **variables: str) -> None:
        """Change containers/.env, as its comments say."""
        file = self.folder / ".env"
        kept = [
            line for line in file.read_text().splitlines() if line.split("=")[0] not in variables
        ]
        said = [f"{name}={value}" for name, value in variables.items()]
        file.write_text("\n".join([*kept, *said, ""]))

    def compose(
        self, *arguments: str, file: str = "compose.yaml"
    ) -> subprocess.CompletedProcess[str]:
        return self._run(
            ["docker", "compose", "--ansi=never", "-f", str(self.folder / file), *arguments]
        )

    def camp(self, *arguments: str, at: str = "") -> str:
        """What a command of an operator on another machine prints."""
        where = {"CAMP_URL": f"http://{at or self.control}", "CAMP_TOKEN": self.token}
        ran = self._run([sys.executable, "-m", "camp", *arguments], **where)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def as_user(self) -> httpx.Client:
        """A user of the service, behind Traefik."""
        headers = self.signed_in or {"authorization": f"Bearer {self.told('DEV_MOCK_TOKEN')}"}
        return httpx.Client(base_url=f"http://{self.http}", headers=headers, timeout=10)

    def version(self) -> str:
        """The version that answers behind Traefik."""
        answer = httpx.get(f"http://{self.http}/health", timeout=5)
        return str(answer.json()["version"]) if answer.status_code == 200 else ""

    def remains(self, client: docker.DockerClient) -> list[str]:
        """What the engine still has of it."""
        project: Filters = {"label": f"com.docker.compose.project={self.name}"}
        found: list[Any] = [
            *client.containers.list(all=True, ignore_removed=True, filters=project),
            *self._instances(client),
            *client.networks.list(filters=project),
            *client.volumes.list(filters=project),
        ]
        return [thing.name for thing in found]

    def remove(self, client: docker.DockerClient) -> None:
        """As docs/containers.md has it."""
        self.compose("stop", "agent")
        for container in self._instances(client):
            container.remove(force=True)
        down = self.compose("down", "-v")
        assert down.returncode == 0, down.stderr
        for image in client.images.list(f"camp/{self.name}/*"):
            for tag in image.tags:
                if tag.startswith(f"camp/{self.name}/"):
                    client.images.remove(tag)

    def _instances(self, client: docker.DockerClient) -> list[Any]:
        wanted: Filters = {"label": f"camp.environment={self.name}"}
        found: list[Any] = client.containers.list(all=True, ignore_removed=True, filters=wanted)
        return found

    def _run(self, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environ | environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMPOSE_DEADLINE_S,
            check=False,
        )


@contextmanager
def stacked(client: docker.DockerClient, folder: Path, **variables: str) -> Iterator[Stack]:
    """A stack that leaves nothing behind."""
    stack = Stack(folder / "containers", variables)
    try:
        yield stack
    finally:
        if (stack.folder / ".env").exists():
            stack.remove(client)


@contextmanager
def asked(stack: Stack, path: str = "/health") -> Iterator[list[str]]:
    """A user asks one request after the other; yields what went wrong."""
    wrong: list[str] = []
    over, begun = threading.Event(), threading.Event()

    def ask() -> None:
        with stack.as_user() as client:
            while not over.wait(0.02):
                try:
                    status = client.get(path).status_code
                except httpx.TransportError as error:
                    wrong.append(repr(error))
                else:
                    wrong.extend([] if status == 200 else [str(status)])
                begun.set()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert wait_until(begun.is_set)
        yield wrong
    finally:
        over.set()
        asking.join()
