"""What the Docker suite stands on: an engine that answers, a registry, a base, camp's image."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.containers import DockerGround, Images, docker_ground
from tests.images import ROOT, Context, built, free_port, plant
from tests.registries import registry_at

HERE = Path(__file__).parent
# Of the test itself; fixtures, one of which builds the image, limit themselves.
TEST_DEADLINE_S = 120
BASE_DEADLINE_S = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_DEADLINE_S, func_only=True))


FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Take a measured line down, for the end of the run: figures are shown, not judged."""
    return pytestconfig.stash.setdefault(FIGURES, []).append


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine that DOCKER_HOST names; `just test-docker` sees to it that there is one."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"No Docker engine answers ({error}). Run the suite with `just test-docker`.")
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the registry keeps its images; a second one may serve them elsewhere."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def registry(registry_data: Path) -> Iterator[str]:
    """`HOST:PORT` of an empty registry on loopback, which engines trust without TLS."""
    with registry_at(f"127.0.0.1:{free_port()}", registry_data) as address:
        yield address


@pytest.fixture(scope="session")
def base(engine: docker.DockerClient) -> str:
    """The base image: what BASE_IMAGE says, python:3.13-slim, or its stand-in."""
    script = ROOT / "containers/base/base-image.sh"
    ran = subprocess.run(
        [script], stdout=subprocess.PIPE, text=True, timeout=BASE_DEADLINE_S, check=True
    )
    reference = ran.stdout.strip()
    try:
        engine.images.get(reference)
    except docker.errors.ImageNotFound:
        engine.images.pull(reference)
    return reference


@pytest.fixture(scope="session")
def pinned_base(engine: docker.DockerClient, registry: str, base: str) -> str:
    """The base image by digest, as a release pins it."""
    if "@sha256:" in base:
        return base
    repository = f"{registry}/python"
    engine.images.get(base).tag(repository, "base")
    pushed = engine.api.push(repository, tag="base", stream=True, decode=True)
    digests = [line["aux"]["Digest"] for line in pushed if "Digest" in line.get("aux", {})]
    assert digests, f"{base} was not pushed"
    return f"{repository}@{digests[0]}"


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A copy of the checkout with secrets lying about in it, and what they say."""
    return plant(tmp_path_factory.mktemp("context") / "camp")


@pytest.fixture(scope="session")
def image(
    engine: docker.DockerClient, pinned_base: str, context: Context, figure: Callable[[str], None]
) -> Iterator[str]:
    """The reference of camp's image, built once, as `just image` builds it."""
    reference = f"camp:test-{secrets.token_hex(4)}"
    began = time.monotonic()
    built(context, reference, pinned_base)
    figure(f"image: built in {time.monotonic() - began:.0f} s")
    yield reference
    engine.images.remove(reference, force=True)


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient, registry: str, base: str) -> Images:
    return Images(engine, registry, base)


@pytest.fixture
def ground(tmp_path: Path, images: Images) -> Iterator[DockerGround]:
    with docker_ground(tmp_path, images) as made:
        yield made
