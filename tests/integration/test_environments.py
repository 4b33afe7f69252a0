"""Changed settings through the real parts: restarts, counts, and hosts that do not agree."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters.postgres.engine import open_engine
from controlplane.domain.model import Kind, State
from controlplane.embedded.servers import TraefikServer
from controlplane.ports.ledger import Start
from tests.agents import LONG_S, Site, site
from tests.hosts import processes
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
HOSTS = ("host-a", "host-b")


@pytest.fixture
async def running(
    tmp_path: Path, migrated_database_url: str, redis_url: str, traefik: TraefikServer
) -> AsyncIterator[Site]:
    """Both agents run and 1.0.0 is deployed."""
    engine = open_engine(migrated_database_url)
    with site(tmp_path, engine, migrated_database_url, redis_url, traefik.api_url) as made:
        await made.apply()
        for host in HOSTS:
            made.start(host)
        await made.deployed("1.0.0")
        yield made
    await engine.dispose()


async def reborn(place: Site, host: str, **environ: str) -> None:
    """The agent of a host is stopped and started with other settings."""
    agent = place.agents.pop(host)
    agent.send_signal(signal.SIGTERM)
    await asyncio.to_thread(agent.wait, 10)
    place.start(host, **environ)


async def told(place: Site, host: str, variable: str) -> str:
    """The keyed hash by which a host's agent tells a variable; empty for one at its default."""
    rows = {row.name: row for row in (await place.store.observe()).hosts}
    report = rows[host].report
    assert report is not None
    assert "DATABASE_URL" in dict(report.environ)
    return dict(report.environ).get(variable, "")


def settings_of(place: Site, variable: str) -> list[str]:
    """What the instances of all hosts have for a variable."""
    found = [p for host in HOSTS for p in processes(place.folder / host)]
    return [process.environ().get(variable, "") for process in found]


async def test_changed_setting_reaches_every_instance_by_a_restart_and_not_before(
    running: Site,
) -> None:
    before = {host: await told(running, host, "DEV_MOCK_TOKEN") for host in HOSTS}
    assert len(set(before.values())) == 1
    for host in HOSTS:
        await reborn(running, host, DEV_MOCK_TOKEN="changed")

    async def known() -> bool:
        return all([await told(running, h, "DEV_MOCK_TOKEN") != before[h] for h in HOSTS])

    assert await eventually(known, LONG_S)
    assert "changed" not in settings_of(running, "DEV_MOCK_TOKEN")

    begun = await running.ledger.start(
        Start(running.environment, Kind.DEPLOY, None, "alice", restart=True)
    )

    assert (await running.ended(begun.id)).state is State.SUCCEEDED
    assert settings_of(running, "DEV_MOCK_TOKEN") == ["changed"] * 2


async def test_restart_starts_the_same_release_anew_without_any_change(running: Site) -> None:
    before = {p.pid for host in HOSTS for p in processes(running.folder / host)}
    begun = await running.ledger.start(
        Start(running.environment, Kind.DEPLOY, None, "alice", restart=True)
    )
    assert (await running.ended(begun.id)).state is State.SUCCEEDED
    after = {p.pid for host in HOSTS for p in processes(running.folder / host)}
    assert len(after) == 2
    assert not before & after


async def test_rollout_waits_for_hosts_whose_settings_differ_and_names_no_value(
    running: Site,
) -> None:
    before = await told(running, "host-b", "STORAGE_URL")
    await reborn(running, "host-b", STORAGE_URL="file:///elsewhere")

    async def known() -> bool:
        return await told(running, "host-b", "STORAGE_URL") != before

    assert await eventually(known, LONG_S)
    rollout = await running.roll("1.1.0")

    async def named() -> bool:
        blocker = (await running.ledger.rollout(rollout)).blocker
        return blocker is not None and blocker.code == "environment_differs"

    assert await eventually(named, LONG_S)
    blocker = (await running.ledger.rollout(rollout)).blocker
    assert blocker is not None
    assert "STORAGE_URL on host-" in blocker.sentence
    assert "elsewhere" not in blocker.sentence
    await reborn(running, "host-b")
    assert (await running.ended(rollout)).state is State.SUCCEEDED


async def test_scale_brings_every_host_to_so_many_instances(running: Site) -> None:
    for count in (2, 1):
        begun = await running.ledger.start(
            Start(running.environment, Kind.DEPLOY, None, "alice", instances=count)
        )
        assert (await running.ended(begun.id)).state is State.SUCCEEDED
        assert [len(processes(running.folder / host)) for host in HOSTS] == [count] * 2
