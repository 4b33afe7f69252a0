"""compose.yaml on a real engine: from nothing to the second version, and to nothing again."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

import camp
from tests.certificates import Certificate, certified
from tests.compose import Stack, asked, stacked
from tests.containers import tarred
from tests.images import ROOT, Context, built
from tests.issuers import issuing

pytestmark = pytest.mark.docker

FIRST, SECOND = camp.__version__, "98.7.6"
WORDS = "What the year brought.\n"
STORY_DEADLINE_S = 420
SERVERS_DEADLINE_S = 300
TRUSTING = """
FROM {image}
COPY certificate.pem /etc/certificate.pem
ENV SSL_CERT_FILE=/etc/certificate.pem
"""


@pytest.fixture(scope="session")
def servers(engine: docker.DockerClient, base: str) -> dict[str, str]:
    """The images of PostgreSQL, Redis and Traefik as variables; none where registries answer."""
    if "camp.stand-in" not in (engine.images.get(base).labels or {}):
        return {}
    ran = subprocess.run(
        [ROOT / "containers/base/make-servers.sh", base],
        stdout=subprocess.PIPE,
        text=True,
        timeout=SERVERS_DEADLINE_S,
        check=True,
    )
    return dict(line.split("=", 1) for line in ran.stdout.splitlines())


@pytest.fixture(scope="session")
def releases(
    engine: docker.DockerClient,
    registry: str,
    pinned_base: str,
    context: Context,
    image: str,
) -> Iterator[dict[str, str]]:
    """Two versions of camp in a registry: version -> HOST/NAME:TAG."""
    tree = context.tree.with_name("second")
    shutil.copytree(context.tree, tree, symlinks=True)
    init = tree / "camp/__init__.py"
    init.write_text(init.read_text().replace(FIRST, SECOND))
    second = f"{image}-second"
    built(Context(tree, (), context.variables), second, pinned_base)
    names = {FIRST: f"{registry}/camp:{FIRST}", SECOND: f"{registry}/camp:{SECOND}"}
    for local, name in zip((image, second), names.values(), strict=True):
        engine.images.get(local).tag(name)
        pushed = engine.images.push(name)
        assert "errorDetail" not in pushed, pushed
    yield names
    for name in (second, *names.values()):
        engine.images.remove(name, force=True)


@pytest.fixture
def stack(engine: docker.DockerClient, tmp_path: Path, servers: dict[str, str]) -> Iterator[Stack]:
    with stacked(engine, tmp_path, **servers) as made:
        yield made


@pytest.mark.timeout(STORY_DEADLINE_S, func_only=True)
def test_one_host_comes_up_and_takes_two_versions_and_goes_away(
    engine: docker.DockerClient,
    stack: Stack,
    releases: dict[str, str],
    figure: Callable[[str], None],
) -> None:
    assert not stack.prepare(releases[FIRST]).returncode
    came_up(stack, figure)
    took(stack, releases, FIRST, figure)
    assert stack.version() == FIRST
    file = uploaded(stack)
    swept = ("run", "--rm", "-T", "control", "files", "sweep", "--dry-run", "--json")
    assert json.loads(stack.compose(*swept).stdout)["examined"] == 1
    with asked(stack) as wrong:
        took(stack, releases, SECOND, figure)
    assert (stack.version(), wrong) == (SECOND, [])
    with stack.as_user() as user:
        assert user.get(file).text == WORDS
    # From now on the control API answers through Traefik as well.
    assert SECOND in stack.camp("env", "show", stack.name, at=stack.http)

    again = stack.compose("up", "-d", "--wait")
    assert again.returncode == 0, again.stderr
    stack.remove(engine)
    assert stack.remains(engine) == []


@pytest.fixture(scope="session")
def certificate(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Certificate:
    """Of a server on this machine, at the address that containers know it by."""
    subnet = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    gateway = subnet.get("Gateway") or str(ipaddress.ip_network(subnet["Subnet"])[1])
    return certified(tmp_path_factory.mktemp("certificate"), gateway)


@pytest.fixture(scope="session")
def trusting(
    engine: docker.DockerClient, releases: dict[str, str], certificate: Certificate
) -> Iterator[dict[str, str]]:
    """The two versions again, in images that trust the certificate."""
    names = {version: name.replace("/camp:", "/trusting:") for version, name in releases.items()}
    for version, name in names.items():
        files = {
            "Dockerfile": TRUSTING.format(image=releases[version]),
            "certificate.pem": certificate.certificate.read_text(),
        }
        engine.images.build(fileobj=tarred(files), custom_context=True, tag=name, rm=True)
        pushed = engine.images.push(name)
        assert "errorDetail" not in pushed, pushed
    yield names
    for name in names.values():
        engine.images.remove(name, force=True)


@pytest.mark.timeout(STORY_DEADLINE_S, func_only=True)
def test_production_signs_in_by_a_directory_and_no_request_fails(
    stack: Stack,
    trusting: dict[str, str],
    certificate: Certificate,
    figure: Callable[[str], None],
) -> None:
    assert not stack.prepare(trusting[FIRST]).returncode
    with issuing(certificate) as directory:
        stack.tell(**directory.variables, DEV_MOCK_TOKEN="")
        stack.signed_in = directory.bearer("ada")
        came_up(stack, figure)
        # Each of the two is checked with CAMP_SMOKE_TOKEN before it counts as held.
        took(stack, trusting, FIRST, figure)
        with asked(stack, "/api/v1/users/me") as wrong:
            took(stack, trusting, SECOND, figure)
        assert (stack.version(), wrong) == (SECOND, [])
        smoke = ("smoke", f"http://{stack.http}", "--timeout", "20", "--token")
        assert "signed in as camp smoke" in stack.camp(*smoke, stack.told("CAMP_SMOKE_TOKEN"))
        stack.signed_in = {"authorization": "Bearer camp-dev-token"}
        with stack.as_user() as stranger:
            assert stranger.get("/api/v1/users/me").status_code == 401
            assert stranger.get("/metrics").status_code == 403


def came_up(stack: Stack, figure: Callable[[str], None]) -> None:
    """Bring everything up to an agent that waits, and make an operator."""
    began = time.monotonic()
    up = stack.compose("up", "-d", "--wait")
    assert up.returncode == 0, up.stderr + stack.compose("logs").stdout
    figure(f"compose: up --wait took {time.monotonic() - began:.1f} s")
    token = stack.compose("run", "--rm", "-T", "control", "operator", "create", "tester")
    stack.token = token.stdout.strip()


def uploaded(stack: Stack) -> str:
    """The path of a file that a user has put into a project."""
    with stack.as_user() as user:
        project = user.post("/api/v1/projects", json={"name": "Annual report"}).json()["id"]
        files = f"/api/v1/projects/{project}/files"
        text = {"content-type": "text/plain"}
        made = user.post(files, params={"name": "a.txt"}, content=WORDS, headers=text)
    assert made.status_code == 201, made.text
    return f"{files}/{made.json()['id']}/content"


def took(
    stack: Stack, releases: dict[str, str], version: str, figure: Callable[[str], None]
) -> None:
    """Roll a version out as an operator on another machine does."""
    stack.camp("release", "add", releases[version])
    began = time.monotonic()
    stack.camp("rollout", "start", stack.name, version, "--watch")
    figure(f"compose: rollout to {version} took {time.monotonic() - began:.1f} s")


def test_nothing_starts_before_secrets_were_made(stack: Stack) -> None:
    refused = stack.compose("config", "-q")
    assert refused.returncode != 0
    assert "containers/prepare.sh" in refused.stderr


@pytest.mark.parametrize("file", ["compose.yaml", "compose.dev.yaml"])
def test_compose_file_is_valid(stack: Stack, file: str) -> None:
    assert not stack.prepare("registry.example/camp:1.0.0").returncode
    checked = stack.compose("config", "-q", file=file)
    assert (checked.returncode, checked.stderr) == (0, "")
