"""What a look at the files for compose can tell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from camp.server import KEEP_ALIVE_S
from controlplane.embedded.servers import TRAEFIK_CONFIG
from tests.images import ROOT

CONTAINERS = ROOT / "containers"
COMPOSE = sorted(CONTAINERS.glob("compose*.yaml"))
TRAEFIK = sorted((CONTAINERS / "traefik").glob("*.yaml"))
# ${NAME:-default} of compose, and NAME=value of the example.
DEFAULT = re.compile(r"\$\{(\w+):?-([^}]*)\}|^(\w+)=(.+)$", re.MULTILINE)
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|DATABASE_URL")
IMAGE = re.compile(r"image: \$\{\w+:-(\S+)\}")


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_images_are_variables_with_a_version_that_stays(file: Path) -> None:
    text = file.read_text()
    assert "latest" not in text
    assert text.count("image: ") == text.count("image: ${")
    for image in IMAGE.findall(text):
        assert re.search(r":v?\d+\.\d+", image), image


@pytest.mark.parametrize("file", [*COMPOSE, CONTAINERS / "example.env"], ids=lambda f: f.name)
def test_no_secret_has_a_default(file: Path) -> None:
    found = [m[0] for m in DEFAULT.finditer(file.read_text()) if SECRET.search(m[1] or m[3])]
    assert found == []
    literal = re.findall(r"(?:PASSWORD|SECRET\w*|TOKEN): (?!\$\{\w+:\?)\S.*", file.read_text())
    assert literal == []


@pytest.mark.parametrize("file", TRAEFIK, ids=lambda file: file.name)
def test_traefik_is_set_as_in_the_demo(file: Path) -> None:
    addresses = re.compile(r'"[^"]*:[^"]*"')
    wanted = TRAEFIK_CONFIG.format(
        api="api:1", web="web:1", redis="redis:1", db=0, password="", root_key="traefik"
    ).replace(' password: "",', "")
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert [addresses.sub("", line) for line in lines] == [
        addresses.sub("", line) for line in wanted.splitlines()
    ]


def test_edges_give_idle_connections_up_before_an_instance_closes_them() -> None:
    idle = re.search(r"idleConnTimeout: (\d+)s", TRAEFIK_CONFIG)
    assert idle is not None
    assert int(idle[1]) < KEEP_ALIVE_S
    said = re.search(r"below the (\d+) s", (CONTAINERS / "traefik" / "traefik.yaml").read_text())
    assert said is not None
    assert int(said[1]) == KEEP_ALIVE_S


@pytest.mark.parametrize(
    "image", ["registry.example:5000/camp", "registry.example/camp:" + "latest"]
)
def test_image_without_a_version_is_refused(image: str) -> None:
    ran = subprocess.run(
        [CONTAINERS / "prepare.sh", image], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "version" in ran.stderr
