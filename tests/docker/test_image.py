"""The image: what is in it, what is not, and how it starts and stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

import camp
from controlplane.adapters.process.bundle_build import describe
from tests.images import GRACE_S, Context, contained, content_of, layers
from tests.service import USER
from tests.waiting import wait_until

pytestmark = pytest.mark.docker

WORDS = " ".join(f"word{n}" for n in range(20))
UNCOMPILED = """
import importlib.util, sys
import camp.server
for module in list(sys.modules.values()):
    spec = getattr(module, "__spec__", None)
    if spec and (spec.origin or "").endswith(".py"):
        try:
            with open(importlib.util.cache_from_source(spec.origin), "rb"):
                pass
        except FileNotFoundError:
            print(spec.origin)
"""
SIGTERM_BIT = 1 << 14
Figures = Callable[[str], None]


def config(engine: docker.DockerClient, image: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.images.get(image).attrs["Config"]
    return found


def test_no_layer_holds_a_file_of_secrets(engine: docker.DockerClient, image: str) -> None:
    names = [Path(name) for layer in layers(engine, image) for name in layer.getnames()]
    assert len(names) > 1000
    assert [n for n in names if n.name.startswith(".env") or n.suffix in {".env", ".key"}] == []


def test_no_layer_holds_what_the_builder_must_keep_to_itself(
    engine: docker.DockerClient, image: str, context: Context
) -> None:
    secrets = [secret.encode() for secret in context.secrets]
    found = [
        member.name
        for layer in layers(engine, image)
        for member in layer
        if member.isfile()
        for content in [content_of(layer, member)]
        if any(secret in content for secret in secrets)
    ]
    assert found == []


def test_neither_config_nor_history_tells_what_the_builder_was_told(
    engine: docker.DockerClient, image: str, context: Context
) -> None:
    said = f"{engine.images.get(image).attrs}{engine.api.history(image)}"
    assert "healthcheck.py" in said
    assert [secret for secret in context.secrets if secret in said] == []
    assert "PIP_" not in said
    assert "UV_" not in said


def test_base_is_the_one_that_was_pinned(
    engine: docker.DockerClient, image: str, pinned_base: str
) -> None:
    name = config(engine, image)["Labels"]["org.opencontainers.image.base.name"]
    assert name == pinned_base
    assert "@sha256:" in name
    below = engine.images.get(pinned_base).attrs["RootFS"]["Layers"]
    assert engine.images.get(image).attrs["RootFS"]["Layers"][: len(below)] == below


def test_labels_say_version_revision_and_schema_range(
    engine: docker.DockerClient, image: str, context: Context
) -> None:
    labels, release = config(engine, image)["Labels"], describe(context.tree)
    assert labels["org.opencontainers.image.version"] == release.version == camp.__version__
    assert labels["org.opencontainers.image.revision"] == release.revision
    assert labels["camp.schema.head"] == release.schema_head
    assert labels["camp.schema.min"] == release.schema_min


def test_user_is_not_root_and_owns_nothing_of_the_code(
    engine: docker.DockerClient, image: str
) -> None:
    user, _, group = config(engine, image)["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    script = "find /opt/camp /usr/local/lib/camp ! -user root -o -writable ! -type l"
    ran = engine.containers.run(image, ["-c", script], entrypoint="sh", remove=True)
    assert ran == b""


def test_healthcheck_needs_no_curl_and_passes(engine: docker.DockerClient, image: str) -> None:
    kind, *command = config(engine, image)["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert not {"curl", "wget"} & set(" ".join(command).split())
    with contained(engine, image) as service:
        assert service.answers(), service.log()
        assert service.container.exec_run(command).exit_code == 0


def test_healthcheck_fails_when_nothing_answers(engine: docker.DockerClient, image: str) -> None:
    _, *command = config(engine, image)["Healthcheck"]["Test"]
    with pytest.raises(docker.errors.ContainerError) as failed:
        engine.containers.run(image, command[1:], entrypoint=command[:1], remove=True)
    assert failed.value.exit_status == 1


def test_everything_that_a_start_imports_is_compiled(
    engine: docker.DockerClient, image: str
) -> None:
    ran = engine.containers.run(image, ["-c", UNCOMPILED], entrypoint="python", remove=True)
    assert ran == b""


def test_service_starts_on_a_read_only_root_as_anybody(
    engine: docker.DockerClient, image: str, migrated_database_url: str, figure: Figures
) -> None:
    options = {"read_only": True, "user": "65534", "cap_drop": ["ALL"]}
    with contained(engine, image, migrated_database_url, **options) as service:
        assert wait_until(lambda: service.ready() == 200, 30), service.log()
        figure(f"start to ready: {time.monotonic() - service.began:.2f} s")
    figure(f"image: {engine.images.get(image).attrs['Size'] / 1e6:.0f} MB")


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({}, "AUTH_MODE"),
        ({"ENVIRONMENT": "local"}, "DEV_MOCK_TOKEN"),
        ({"ENVIRONMENT": "staging"}, "DEV_MOCK_TOKEN"),
    ],
)
def test_public_token_opens_no_container_that_others_can_reach(
    engine: docker.DockerClient, image: str, told: dict[str, str], named: str
) -> None:
    given = told | {"DATABASE_URL": "postgresql://camp@127.0.0.1:1/camp"}
    with pytest.raises(docker.errors.ContainerError) as refused:
        engine.containers.run(image, ["serve"], environment=given, remove=True)
    assert refused.value.exit_status == 1
    assert f"Error: {named} " in str(refused.value.stderr)


def test_migrations_run_from_the_image_alone(
    engine: docker.DockerClient, image: str, database_url: str
) -> None:
    engine.containers.run(
        image,
        ["migrate", "upgrade"],
        environment={"DATABASE_URL": database_url},
        network_mode="host",
        read_only=True,
        user="65534",
        remove=True,
    )
    with contained(engine, image, database_url) as service:
        assert wait_until(lambda: service.ready() == 200, 30), service.log()


def test_stop_drains_a_chat_stream_and_exits_0(
    engine: docker.DockerClient, image: str, migrated_database_url: str
) -> None:
    with contained(engine, image, migrated_database_url) as service, ThreadPoolExecutor() as pool:
        assert wait_until(lambda: service.ready() == 200, 30), service.log()
        with httpx.Client(base_url=f"{service.url}/api/v1", headers=USER, timeout=30) as client:
            chat_id = client.post("/chats", json={}).json()["id"]
            body = {"content": WORDS, "token_delay_ms": 100}
            with client.stream("POST", f"/chats/{chat_id}/stream", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                stopped = pool.submit(service.container.stop, timeout=30)
                assert "event: done" in list(lines)
        stopped.result()
        assert service.container.wait()["StatusCode"] == 0, service.log()


def test_stop_ends_a_service_that_has_not_begun_to_listen(
    engine: docker.DockerClient, image: str
) -> None:
    with contained(engine, image) as service:
        service.container.reload()
        status = Path(f"/proc/{service.container.attrs['State']['Pid']}/status")
        assert wait_until(lambda: handles_sigterm(status))
        began = time.monotonic()
        service.container.stop(timeout=GRACE_S)
        assert time.monotonic() - began < GRACE_S / 2
        assert service.container.wait()["StatusCode"] in {0, 128 + 15}


def handles_sigterm(status: Path) -> bool:
    masks = [line for line in status.read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(masks[0].split()[1], 16) & SIGTERM_BIT)
