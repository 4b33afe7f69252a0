"""What a look at the files for compose can tell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from camp.config.settings import load
from camp.errors import SettingsError
from camp.server import KEEP_ALIVE_S
from controlplane.embedded.servers import TRAEFIK_CONFIG
from tests import service
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


def test_everything_of_camp_gets_every_setting_of_the_file() -> None:
    """A list of variables beside the file is how production once lacked the directory's ids."""
    compose = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    ours = {name: each for name, each in compose["services"].items() if "CAMP_" in str(each)}
    assert set(ours) == {"migrate", "control", "environment", "agent"}
    assert [each["env_file"] for each in ours.values()] == [[".env"]] * 4
    assert ours["control"]["environment"]["RUN_WORKERS"] == "0"


def test_example_says_what_production_cannot_do_without() -> None:
    lines = (CONTAINERS / "example.env").read_text().splitlines()
    named = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    production = named | {"ENVIRONMENT": "production", "AUTH_MODE": "production"}
    with pytest.raises(SettingsError) as refused:
        load(production, Path("no-such-folder"))
    missing = {fault.split()[0] for fault in refused.value.faults}
    assert missing == {"DATABASE_URL", "ENTRA_TENANT_ID", "ENTRA_AUDIENCE"}
    assert missing <= set(named)
    filled = {name: value for name, value in service.PRODUCTION.items() if name in missing}
    filled["DATABASE_URL"] = "postgresql://camp:pw@postgres:5432/camp"
    assert load(production | filled, Path("no-such-folder")).database_allow_plaintext


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
