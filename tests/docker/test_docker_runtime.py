"""The runtime contract on a real engine, and what only containers have."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import docker
import httpx
import pytest

from controlplane.adapters.docker.engine import Engine, EngineUnavailable
from controlplane.adapters.docker.runtime import DockerRuntime
from controlplane.domain.errors import HostTaken, Invalid
from controlplane.domain.goals import Job
from controlplane.domain.model import Release
from controlplane.ports.runtime import Running
from tests.containers import SECRET, DockerGround, Images
from tests.contract import test_runtime as contract
from tests.contract.test_runtime import ended, freed, job_over, started
from tests.hosts import image, only, pulled

pytestmark = pytest.mark.docker

# Every test of the suite runs again here, with the `ground` of this folder.
globals().update({name: test for name, test in vars(contract).items() if name[:5] == "test_"})


def answer(address: str) -> dict[str, Any]:
    body: dict[str, Any] = httpx.get(f"http://{address}/health/ready", timeout=2).json()
    return body


async def answering(ground: DockerGround) -> Running:
    """An instance that answers under its address."""
    running = await started(ground)

    async def answers() -> bool:
        try:
            return bool(answer(running.address))
        except httpx.TransportError:
            return False

    assert await ground.until(answers)
    return running


async def test_instance_answers_at_its_address_and_knows_what_it_is(ground: DockerGround) -> None:
    said = answer((await answering(ground)).address)
    spec = ground.release().spec
    assert (said["version"], said["digest"], said["instance"]) == (
        spec.version,
        spec.digest,
        "host-a/1",
    )


async def test_container_carries_labels_limits_and_the_hosts_secrets(ground: DockerGround) -> None:
    ground.agent_restarts(cpus=0.5, memory_bytes=64 << 20, epoch=lambda: 7)
    await started(ground)
    attributes = ground.container(1).attrs
    labels, limits = attributes["Config"]["Labels"], attributes["HostConfig"]
    assert {labels[f"camp.{name}"] for name in ("slot", "release", "epoch")} == {"1", "1.0.0", "7"}
    assert labels["camp.digest"] == ground.release().digest
    assert f"OPENAI_API_KEY={SECRET}" in attributes["Config"]["Env"]
    assert (limits["NanoCpus"], limits["Memory"]) == (500_000_000, 64 << 20)
    assert limits["RestartPolicy"]["Name"] == "unless-stopped"
    assert limits["LogConfig"]["Config"]["max-size"]
    assert limits["ReadonlyRootfs"]


async def test_instance_in_a_network_is_reached_at_its_own_address(
    ground: DockerGround, images: Images
) -> None:
    network = images.client.networks.create(ground.placement.environment)
    try:
        ground.agent_restarts(network=network.name)
        running = await answering(ground)
        assert running.address.endswith(":8000")
        assert not ground.container(1).ports.get("8000/tcp")
    finally:
        ground.container(1).remove(force=True)
        network.remove()


async def test_two_hosts_on_one_engine_do_not_see_each_other(
    ground: DockerGround, images: Images, tmp_path: Path
) -> None:
    await started(ground)
    ground.folder = tmp_path / "other"
    first = ground.opened
    ground.agent_restarts(host="host-b")
    assert await ground.runtime.running() == ()
    assert await ground.runtime.images() == ()
    await started(ground)
    await ground.runtime.prune(frozenset())
    assert len(await first.running()) == 1
    first.close()


async def test_secrets_that_others_can_read_start_nothing(ground: DockerGround) -> None:
    release = await pulled(ground, ground.release())
    ground.placement.env_file.chmod(0o640)
    await ground.runtime.start(1, release)
    running = await only(ground)
    assert not running.alive
    assert "chmod 0600" in running.detail
    with pytest.raises(Invalid, match="chmod 0600"):
        ground.agent_restarts()


async def test_second_agent_of_a_host_is_refused(ground: DockerGround) -> None:
    with pytest.raises(HostTaken):
        DockerRuntime(ground.folder / "home", ground.placement, Engine()).open()


async def test_engine_that_is_gone_is_a_clear_error(ground: DockerGround, tmp_path: Path) -> None:
    gone = DockerRuntime(tmp_path / "gone", ground.placement, Engine(f"unix://{tmp_path}/no.sock"))
    with gone, pytest.raises(EngineUnavailable, match="No such file or directory"):
        await gone.running()


async def test_exit_is_told_with_code_and_last_words(ground: DockerGround) -> None:
    await started(ground, crash="no memory")
    assert await ground.until(lambda: ended(ground))
    assert (await only(ground)).detail == "ended with code 1: crashed: no memory"


async def test_instance_that_crashes_while_nobody_looks_is_started_again_by_the_engine(
    ground: DockerGround,
) -> None:
    before = await started(ground)
    ground.crash(1)

    async def again() -> bool:
        return int(ground.container(1).attrs["RestartCount"]) > 0

    assert await ground.until(again)

    async def up() -> bool:
        return bool(ground.container(1).status == "running")

    assert await ground.until(up)
    after = await only(ground)
    assert after.alive
    assert after.address == before.address
    assert after.started > before.started


async def test_image_that_is_not_in_the_registry_can_be_pulled_later(ground: DockerGround) -> None:
    there = ground.release()
    missing = Release("9", f"sha256:{'0' * 64}", there.image, "", "", "", "")
    await ground.runtime.pull(missing)
    assert await ground.until(lambda: image(ground, missing))
    report = await image(ground, missing)
    assert report is not None
    assert not report.permanent
    assert "push it" in report.error


async def test_registry_that_is_down_is_told_and_tried_again(ground: DockerGround) -> None:
    missing = Release("9", f"sha256:{'0' * 64}", "127.0.0.1:9/camp", "", "", "", "")
    await ground.runtime.pull(missing)
    assert await ground.until(lambda: image(ground, missing))
    report = await image(ground, missing)
    assert report is not None
    assert (report.present, report.permanent) == (False, False)
    assert "connection refused" in report.error


async def test_prune_leaves_an_image_that_somebody_else_has_tagged(
    ground: DockerGround, images: Images
) -> None:
    release = await pulled(ground, ground.release("5.0.0"))
    name = f"mine/{ground.placement.environment}"
    images.client.images.get(release.image).tag(name, "1")
    await ground.runtime.prune(frozenset())
    assert await ground.runtime.images() == ()
    images.client.images.remove(f"{name}:1")
    assert await image(ground, release) is None


async def test_prune_frees_the_bytes(ground: DockerGround, images: Images) -> None:
    release = await pulled(ground, ground.release("6.0.0"))
    found = images.client.images.get(release.image).id or ""
    await ground.runtime.prune(frozenset())
    with pytest.raises(docker.errors.ImageNotFound):
        images.client.images.get(found)


async def test_prune_forgets_ended_runs_of_what_nobody_keeps(ground: DockerGround) -> None:
    release = await pulled(ground, ground.release("7.0.0"))
    job = Job("r-1/1", "host-a", release, ("migrate", "upgrade"))
    await ground.runtime.run_once(job)
    assert await ground.until(lambda: job_over(ground, job))
    await ground.runtime.prune(frozenset({release.digest}))
    assert len(await ground.runtime.jobs()) == 1
    await ground.runtime.prune(frozenset())
    assert await ground.runtime.jobs() == ()
    assert ground.containers() == []


async def test_stop_request_of_an_agent_that_died_holds_over_an_engine_restart(
    ground: DockerGround,
) -> None:
    """The engine must not start again what was asked to end: `unless-stopped` is set."""
    await started(ground, ignores_sigterm=True)
    assert await ground.until(lambda: ground.runtime.logs(1, 1))
    await ground.runtime.stop(1, 60.0)
    ground.crash(1)
    assert await ground.until(lambda: freed(ground))
    assert ground.containers() == []


async def test_figures_of_one_instance(ground: DockerGround, figure: Callable[[str], None]) -> None:
    release = ground.release("8.0.0")
    times = [monotonic()]
    await pulled(ground, release)
    times.append(monotonic())
    await ground.runtime.start(1, release)
    times.append(monotonic())
    await answering(ground)
    times.append(monotonic())
    await ground.runtime.running()
    times.append(monotonic())
    await ground.runtime.stop(1, 5.0)
    assert await ground.until(lambda: freed(ground))
    times.append(monotonic())
    names = ("pull of one layer", "start", "until it answers", "one look", "stop")
    spans = [late - early for early, late in pairwise(times)]
    told = ", ".join(f"{name} {span:.2f} s" for name, span in zip(names, spans, strict=True))
    figure(f"docker runtime: {told}")
