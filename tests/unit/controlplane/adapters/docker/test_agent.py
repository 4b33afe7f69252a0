"""What an agent's successor is made of, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.docker import agent as docker_agent
from controlplane.adapters.docker.container import Placement
from controlplane.domain.goals import AgentGoal
from controlplane.domain.model import Release

RELEASE = Release("1.1.0", "sha256:12", "registry.example/camp@sha256:12", "a", "2", "1", "cfg")
GOAL = AgentGoal(RELEASE, 1700000000.25)
IMAGE = {"Config": {"Env": ["PATH=/bin", "PORT=8000"], "Cmd": ["serve"], "Labels": {"by": "us"}}}


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    return Placement(
        environment="production", host="host-a", address="10.0.0.1", env_file=tmp_path / "e"
    )


def own(**changes: Any) -> dict[str, Any]:
    config = {
        "Env": ["PATH=/bin", "PORT=8000", "REDIS_URL=redis://r"],
        "Cmd": ["agent", "--host", "host-a"],
        "Labels": {"by": "us", "com.example.project": "camp"},
        "User": "0:0",
    }
    return {
        "Id": "c1",
        "Config": config,
        "HostConfig": {
            "NetworkMode": "shop",
            "RestartPolicy": {"Name": "unless-stopped"},
            "Binds": ["data:/var/lib/camp"],
        },
        "NetworkSettings": {"Networks": {"other": {}, "shop": {}}},
        "Mounts": [{"Destination": "/var/lib/camp"}],
    } | changes


def test_successor_is_set_as_its_predecessor_was(placement: Placement) -> None:
    made, _ = docker_agent.successor_config(placement, own(), IMAGE, GOAL)
    assert made["Env"] == ["REDIS_URL=redis://r"]
    assert made["Cmd"] == ["agent", "--host", "host-a"]
    assert made["User"] == "0:0"
    assert made["HostConfig"]["Binds"] == ["data:/var/lib/camp"]
    assert made["Labels"]["com.example.project"] == "camp"


def test_what_the_old_image_brought_is_left_to_the_new_one(placement: Placement) -> None:
    as_the_image = own(Config={"Env": ["PATH=/bin"], "Cmd": ["serve"], "Labels": {"by": "us"}})
    made, _ = docker_agent.successor_config(placement, as_the_image, IMAGE, GOAL)
    assert made["Env"] == []
    assert "Cmd" not in made
    assert "by" not in made["Labels"]


def test_successor_runs_the_bytes_that_the_host_holds_and_names_whom_it_follows(
    placement: Placement,
) -> None:
    made, _ = docker_agent.successor_config(placement, own(), IMAGE, GOAL)
    assert made["Image"] == "camp/production/host-a:12"
    assert made["Labels"]["camp.agent.predecessor"] == "c1"
    assert made["Labels"]["camp.agent.digest"] == "sha256:12"


def test_successor_that_fails_is_not_started_again(placement: Placement) -> None:
    made, _ = docker_agent.successor_config(placement, own(), IMAGE, GOAL)
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "no"}


def test_successor_joins_the_same_networks(placement: Placement) -> None:
    made, others = docker_agent.successor_config(placement, own(), IMAGE, GOAL)
    assert (list(made["NetworkingConfig"]["EndpointsConfig"]), others) == (["shop"], ("other",))


def test_agent_without_a_volume_or_with_rm_cannot_be_succeeded() -> None:
    assert "volume" in docker_agent.obstacle(own(Mounts=[]), "/var/lib/camp")
    assert "--rm" in docker_agent.obstacle(own(HostConfig={"AutoRemove": True}), "/var/lib/camp")
    assert docker_agent.obstacle(own(), "/var/lib/camp/agents") == ""


def test_container_knows_its_own_id_by_its_mounts() -> None:
    id_ = "ab" * 32
    line = f"1 2 0:3 /data/containers/{id_}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
    assert docker_agent.own_id(line) == id_
    assert docker_agent.own_id("1 2 0:3 / / rw - ext4 /dev/vda rw\n") == ""
