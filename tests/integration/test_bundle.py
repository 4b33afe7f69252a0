"""The demo's releases as real processes: the service itself, from a bundle, on a real database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters.host.health import HttpHealth
from controlplane.adapters.process import bundle
from controlplane.adapters.process.runtime import ProcessRuntime
from controlplane.demo.bundles import build_demo
from controlplane.domain.goals import Job, JobState
from controlplane.domain.model import Release
from controlplane.domain.reports import JobReport
from controlplane.ports.health import Probe
from tests.hosts import RealGround, only, processes, pulled, real_ground
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
SECRETS = {"DEV_MOCK_TOKEN": "test-token"}


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    made = build_demo(ROOT, tmp_path_factory.mktemp("bundles"))
    return {version: bundle.read(path) for version, path in made.items()}


@pytest.fixture
async def host(tmp_path: Path, database_url: str) -> AsyncIterator[RealGround]:
    with real_ground(tmp_path) as ground:
        ground.opened.close()
        environ = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, **SECRETS}
        ground.opened = ProcessRuntime(ground.home, "host-a", environ=environ).open()
        ground.runtime = ground.opened
        yield ground


async def migrated(host: RealGround, release: Release) -> JobReport:
    job = Job(f"r-1/{release.version}", "host-a", await pulled(host, release), MIGRATE)
    await host.runtime.run_once(job)

    async def report() -> JobReport:
        (found,) = [j for j in await host.runtime.jobs() if j.id == job.id]
        return found

    async def over() -> bool:
        return (await report()).state is not JobState.RUNNING

    assert await eventually(over, deadline_s=30)
    return await report()


MIGRATE = ("migrate", "upgrade")


async def answer(health: HttpHealth, host: RealGround) -> Probe:
    """The first answer of the instance in slot 1."""
    probe = Probe(ready=False)

    async def answered() -> bool:
        nonlocal probe
        running = await only(host)
        assert running.alive, (running.detail, await host.runtime.logs(1, 20))
        probe = await health.probe(running.address)
        return probe.spec is not None

    assert await eventually(answered, deadline_s=30)
    return probe


def test_demo_has_one_migration_more_from_the_second_release_on(
    releases: dict[str, Release],
) -> None:
    heads = {version: release.schema_head for version, release in releases.items()}
    assert heads["1.0.0"] < heads["1.1.0"] == heads["1.2.0"]
    assert {r.version for r in releases.values()} == {"1.0.0", "1.1.0", "1.2.0"}
    assert len({r.digest for r in releases.values()}) == 3


async def test_release_migrates_serves_drains_and_stops(
    host: RealGround, releases: dict[str, Release]
) -> None:
    release = releases["1.1.0"]
    report = await migrated(host, release)
    assert report.state is JobState.SUCCEEDED, report
    await host.runtime.start(1, release)
    health = HttpHealth()
    probe = await answer(health, host)
    assert probe == Probe(ready=True, spec=release.spec)
    address = (await only(host)).address
    await health.drain(address, 5.0)
    assert not (await health.probe(address)).ready
    await host.runtime.stop(1, 10.0)

    async def freed() -> bool:
        return not await host.runtime.running()

    assert await eventually(freed)
    assert processes(host.home) == []
    await health.close()


async def test_third_release_runs_and_never_becomes_ready(
    host: RealGround, releases: dict[str, Release]
) -> None:
    release = releases["1.2.0"]
    await migrated(host, release)
    await host.runtime.start(1, release)
    health = HttpHealth()
    probe = await answer(health, host)
    assert probe == Probe(False, release.spec, detail="cannot reach its model provider")
    await health.close()


async def test_release_on_a_database_without_its_schema_is_not_ready_and_says_why(
    host: RealGround, releases: dict[str, Release]
) -> None:
    await migrated(host, releases["1.0.0"])
    release = await pulled(host, releases["1.1.0"])
    await host.runtime.start(1, release)
    health = HttpHealth()
    probe = await answer(health, host)
    assert not probe.ready
    assert "run camp migrate upgrade" in probe.detail
    await health.close()
