"""Builders for tests of the image: what it is built from, what is in it, how it runs."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import load
from pathlib import Path
from typing import Any

import docker
import httpx
from docker.models.containers import Container

from tests.service import NO_DATABASE
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent
SOURCES = ("camp", "controlplane", "migrations", "containers", "scripts")
FILES = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", ".dockerignore", ".gitignore")
# Where people leave them.
SECRET_FILES = (
    ".env",
    ".env.production",
    "camp/.env",
    "camp/users/.env.local",
    "migrations/versions/.env.production",
    "containers/.env",
    "production.env",
    "controlplane/tls.pem",
    "camp/signing.key",
)
BUILD_DEADLINE_S = 900
START_DEADLINE_S = 30.0
GRACE_S = 10


@dataclass(frozen=True)
class Context:
    """A checkout to build from; `secrets` must be nowhere in what is built."""

    tree: Path
    secrets: tuple[str, ...]
    variables: dict[str, str]


def plant(tree: Path) -> Context:
    """Copy the checkout to `tree`, with its history, and leave secrets in it."""
    subprocess.run(
        ["git", "clone", "-q", "--no-checkout", "--shared", str(ROOT), str(tree)], check=False
    )
    tree.mkdir(exist_ok=True)
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(ROOT / name, tree / name)
    subprocess.run(["git", "-C", str(tree), "reset", "-q"], check=False)
    values = {name: f"planted-{secrets.token_hex(12)}" for name in SECRET_FILES}
    for name, value in values.items():
        (tree / name).write_text(f"OPENAI_API_KEY={value}\n")
    # A setting of the machine that the build is told, and that must not stay in the image.
    index = f"{secrets.token_hex(12)}.invalid"
    return Context(tree, (*values.values(), index), {"PIP_TRUSTED_HOST": index})


def built(context: Context, reference: str, base: str) -> None:
    """Build `reference` from it, as `just image` does."""
    ran = subprocess.run(
        [context.tree / "containers/build.sh", reference, context.tree],
        env=os.environ | {"BASE_IMAGE": base} | context.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]


def layers(client: docker.DockerClient, image: str) -> Iterator[tarfile.TarFile]:
    """The image's layers, lowest first, each open for reading."""
    with tempfile.TemporaryFile() as file:
        for chunk in client.images.get(image).save():
            file.write(chunk)
        file.seek(0)
        with tarfile.open(fileobj=file) as saved:
            for name in load(_member(saved, "manifest.json"))[0]["Layers"]:
                with tarfile.open(fileobj=_member(saved, name)) as layer:
                    yield layer


def content_of(layer: tarfile.TarFile, file: tarfile.TarInfo) -> bytes:
    content: bytes = _member(layer, file).read()
    return content


def _member(archive: tarfile.TarFile, name: str | tarfile.TarInfo) -> Any:
    found = archive.extractfile(name)
    assert found is not None, f"{name} is no file"
    return found


@dataclass(frozen=True)
class Contained:
    """A running `camp serve` in a container on the host's network."""

    container: Container
    url: str
    began: float

    def ready(self) -> int:
        """The status of its readiness; 0 while nothing answers."""
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).status_code
        except httpx.TransportError:
            return 0

    def answers(self) -> bool:
        return wait_until(self.ready, START_DEADLINE_S)

    def log(self) -> str:
        return self.container.logs().decode()


@contextmanager
def contained(
    client: docker.DockerClient, image: str, database_url: str = NO_DATABASE, **options: Any
) -> Iterator[Contained]:
    """Start the image's service on a free port; `options` are those of `docker run`."""
    port = free_port()
    environ = {"DATABASE_URL": database_url, "DEV_MOCK_TOKEN": "test-token", "PORT": str(port)}
    environ |= {"ENVIRONMENT": "local", "HOST": "127.0.0.1"} | options.pop("environment", {})
    began = time.monotonic()
    container = client.containers.run(
        image, detach=True, network_mode="host", environment=environ, **options
    )
    try:
        yield Contained(container, f"http://127.0.0.1:{port}", began)
    finally:
        container.remove(force=True)


def free_port() -> int:
    """A TCP port of loopback that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
