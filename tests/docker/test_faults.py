"""What goes wrong with engines, registries and containers, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.docker.container import Placement
from controlplane.adapters.docker.engine import Engine
from controlplane.adapters.docker.runtime import DockerRuntime
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport
from tests.agents import LONG_S
from tests.containers import DockerGround, Images
from tests.engines import own_engine
from tests.fakes.registry import LABELS, FakeRegistry, fake_registry
from tests.hosts import image
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300, func_only=True)]


@pytest.fixture
def liar() -> Iterator[FakeRegistry]:
    with fake_registry() as made:
        yield made


def published(liar: FakeRegistry, digest: str) -> Release:
    return Release("9", digest, f"{liar.address}/camp@{digest}", "", "", "", "")


async def refused(ground: DockerGround, release: Release) -> ImageReport:
    """The report of a pull that failed."""
    await ground.runtime.pull(release)
    assert await ground.until(lambda: image(ground, release))
    report = await image(ground, release)
    assert report is not None
    assert not report.present
    return report


async def test_image_for_another_platform_is_refused_for_good(
    ground: DockerGround, liar: FakeRegistry
) -> None:
    arm = liar.index(liar.image(LABELS, "linux/arm64"))
    report = await refused(ground, published(liar, arm))
    assert report.permanent
    assert "not made for this host's platform; build it for it" in report.error


async def test_registry_that_wants_credentials_says_log_in(
    ground: DockerGround, liar: FakeRegistry
) -> None:
    liar.auth = "basic"
    report = await refused(ground, published(liar, liar.image(LABELS)["digest"]))
    assert "`docker login` on this host" in report.error
    assert not report.permanent


async def test_registry_that_does_not_answer_holds_up_no_look(
    ground: DockerGround, liar: FakeRegistry
) -> None:
    release = published(liar, liar.image(LABELS)["digest"])
    liar.held.set()
    await ground.runtime.pull(release)
    assert await eventually(lambda: liar.asked)
    assert await ground.runtime.running() == ()
    assert await ground.runtime.images() == ()
    assert not (await refused(ground, release)).permanent


async def test_disk_that_fills_up_during_a_pull_is_named(tmp_path: Path, images: Images) -> None:
    secret = tmp_path / "camp.env"
    secret.touch(0o600)
    placement = Placement(environment="full", host="host-a", address="127.0.0.1", env_file=secret)
    release = images.release("1.0.0")
    with (
        own_engine(size="64m") as own,
        DockerRuntime(tmp_path / "home", placement, Engine(own.url)) as runtime,
    ):
        await runtime.pull(release)
        assert await eventually(runtime.images, LONG_S)
        (report,) = await runtime.images()
        assert (report.present, report.permanent) == (False, False)
        assert "no space left on device; free the disk, it is retried" in report.error
        assert await runtime.running() == ()
