"""What a container of ours is made of, without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.docker import container as docker_container
from controlplane.adapters.docker.container import Placement, parsed, size_bytes
from controlplane.domain.errors import Invalid
from controlplane.domain.goals import Job
from controlplane.domain.model import Release

RELEASE = Release("1.0.0", "sha256:12", "registry.example/camp@sha256:12", "a", "2", "1", "cfg")


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    file = tmp_path / "camp.env"
    file.write_text("SECRET_KEY=open sesame\nCAMP_DIGEST=mine\nCAMP_AGENT_TOKEN=file\n")
    file.chmod(0o600)
    return Placement(
        environment="production",
        host="host-a",
        address="10.0.0.1",
        env_file=file,
        environ={"CAMP_AGENT_TOKEN": "agent"},
    )


def inspected(**state: Any) -> dict[str, Any]:
    states = {
        "Status": "exited",
        "StartedAt": "then",
        "FinishedAt": "now",
        "ExitCode": 3,
        "Error": "",
    } | state
    return {
        "Id": "c1",
        "Name": "/camp-production.host-a-1",
        "Created": "before",
        "Config": {"Labels": {"camp.slot": "1"}},
        "NetworkSettings": {"Networks": {}},
        "State": states,
    }


def test_the_release_has_the_last_word_on_what_an_instance_is(placement: Placement) -> None:
    environ = docker_container.slot_config(placement, 1, RELEASE, 20_001)["Env"]
    assert "CAMP_DIGEST=sha256:12" in environ
    assert "CAMP_DIGEST=mine" not in environ


def test_volumes_are_for_instances_and_not_for_runs(placement: Placement) -> None:
    mounted = replace(placement, volumes=("files:/var/lib/camp/files",))
    made = docker_container.slot_config(mounted, 1, RELEASE, 20_001)
    assert made["HostConfig"]["Binds"] == ["files:/var/lib/camp/files"]
    run = docker_container.job_config(mounted, Job("r1/1", "host-a", RELEASE, ("migrate",)))
    assert "Binds" not in run["HostConfig"]


@pytest.mark.parametrize("volume", ["files", "files:relative", "a:/b:ro", ":/b"])
def test_volume_that_cannot_be_mounted_is_named(placement: Placement, volume: str) -> None:
    with pytest.raises(Invalid, match="NAME:/PATH"):
        docker_container.check(replace(placement, volumes=(volume,)))


def test_the_hosts_file_goes_over_what_the_agent_gives(placement: Placement) -> None:
    environ = docker_container.slot_config(placement, 1, RELEASE, 20_001)["Env"]
    assert "CAMP_AGENT_TOKEN=file" in environ
    assert "CAMP_AGENT_TOKEN=agent" not in environ


def test_instance_is_published_at_the_hosts_address_only(placement: Placement) -> None:
    made = docker_container.slot_config(placement, 1, RELEASE, 20_001)
    bound = {"8000/tcp": [{"HostIp": "10.0.0.1", "HostPort": "20001"}]}
    assert made["HostConfig"]["PortBindings"] == bound
    assert made["Labels"]["camp.address"] == "10.0.0.1:20001"


def test_instance_in_a_network_is_not_published(placement: Placement) -> None:
    made = docker_container.slot_config(replace(placement, network="camp"), 1, RELEASE, 0)
    assert made["HostConfig"]["NetworkMode"] == "camp"
    assert "PortBindings" not in made["HostConfig"]


def test_one_shot_run_is_never_started_again_and_publishes_nothing(placement: Placement) -> None:
    job = Job("r-1/1", "host-a", RELEASE, ("migrate", "upgrade"))
    made = docker_container.job_config(placement, job)
    assert "RestartPolicy" not in made["HostConfig"]
    assert "PortBindings" not in made["HostConfig"]
    assert made["Cmd"] == ["migrate", "upgrade"]


def test_a_request_to_end_is_read_back_from_the_name(placement: Placement) -> None:
    name = docker_container.stopping_name(placement, 1, 1_700_000_000.25)
    assert docker_container.kill_at(name) == 1_700_000_000.25
    assert docker_container.kill_at(docker_container.slot_name(placement, 1)) is None


def test_names_of_different_places_never_meet(placement: Placement) -> None:
    one = docker_container.slot_name(replace(placement, environment="a-b", host="c"), 1)
    other = docker_container.slot_name(replace(placement, environment="a", host="b-c"), 1)
    assert one != other


@pytest.mark.parametrize(
    ("state", "words", "told"),
    [
        ({}, "no memory", "ended with code 3: no memory"),
        ({}, "", "ended with code 3"),
        ({"OOMKilled": True}, "x", docker_container.OUT_OF_MEMORY),
        ({"Status": "created", "Error": "port taken."}, "", "could not be started: port taken"),
        ({"Status": "created"}, "", "was not started"),
    ],
)
def test_the_end_of_a_container_is_told(state: dict[str, Any], words: str, told: str) -> None:
    assert docker_container.why_ended(parsed(inspected(**state)), words) == told


def test_settings_are_read_back_from_the_engine_without_the_images_own(
    placement: Placement,
) -> None:
    made = docker_container.slot_config(placement, 1, RELEASE, 20_001)
    said = inspected()
    said["Config"] = {"Labels": made["Labels"], "Env": ["PATH=/usr/bin", *made["Env"]]}
    environ = parsed(said).environ
    assert environ == docker_container.shared_environ(placement)
    assert "PATH" not in environ
    assert "CAMP_INSTANCE" not in environ


def test_digest_of_an_image_is_the_one_the_engine_knows_it_by() -> None:
    image = {"RepoDigests": ["mirror/camp@sha256:b", "registry/camp@sha256:a"]}
    assert docker_container.digest_of(image, "sha256:a") == "sha256:a"
    assert docker_container.digest_of(image, "sha256:c") == "sha256:b"
    assert docker_container.digest_of({"RepoDigests": []}, "sha256:c") == ""


def test_restarting_container_is_not_alive() -> None:
    assert not parsed(inspected(Status="restarting")).alive


@pytest.mark.parametrize(
    ("text", "size"), [("512m", 512 << 20), ("2G", 2 << 30), ("64MB", 64 << 20)]
)
def test_sizes_are_read_as_docker_reads_them(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "1k", "-5m", "1.5g"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="memory"):
        size_bytes(text)


def test_name_that_no_image_can_have_is_refused(placement: Placement) -> None:
    with pytest.raises(Invalid, match="hyphen"):
        docker_container.check(replace(placement, host="host-"))
