"""What a demo with containers leaves on an engine: nothing, however it ends."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from controlplane.demo.containers import Containers
from tests.waiting import wait_until

pytestmark = pytest.mark.docker

OWNER = """
import signal, sys
from pathlib import Path
from controlplane.demo.sweeper import Sweeper
sweeper = Sweeper(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
signal.pause()
"""


def tags(engine: docker.DockerClient, name: str) -> list[str]:
    return [tag for image in engine.images.list() for tag in image.tags if name in tag]


def test_killed_demo_leaves_no_container_and_no_image(
    engine: docker.DockerClient, base: str, tmp_path: Path
) -> None:
    name = f"demo-{secrets.token_hex(4)}"
    engine.images.get(base).tag(f"127.0.0.1:9/{name}/camp", "1.0.0")
    engine.images.get(base).tag(f"camp/{name}/host-a", "0")
    label = f"camp.environment={name}"
    engine.containers.run(
        base, ["sleep", "60"], detach=True, labels={"camp.environment": name}, init=True
    )
    assert engine.containers.list(all=True, ignore_removed=True, filters={"label": label})
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), name], stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    with owner.stdout:
        owner.stdout.readline()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert wait_until(
        lambda: not engine.containers.list(all=True, ignore_removed=True, filters={"label": label}),
        30,
    )
    assert wait_until(lambda: not tags(engine, name), 30)
    assert engine.images.get(base).id


async def test_servers_and_instances_meet_at_the_engines_bridge(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    hosting = Containers(tmp_path, tmp_path)
    try:
        await hosting.prepare()
        assert hosting.bridge is not None
        assert hosting.bridge.address
        assert hosting.bridge.subnet in str(engine.networks.get("bridge").attrs["IPAM"])
    finally:
        await hosting.close()
