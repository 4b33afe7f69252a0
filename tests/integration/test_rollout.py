"""Rollouts through the real parts: agents as programs, PostgreSQL, Redis, Traefik, processes."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from dataclasses import replace

import httpx
import pytest

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.logs import RedisLogs
from controlplane.domain.model import State
from controlplane.domain.reports import SlotReport
from controlplane.embedded.servers import TraefikServer
from tests.agents import LONG_S, QUICK, Site
from tests.hosts import processes
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def running(place: Site) -> Site:
    """Both agents run and 1.0.0 is deployed."""
    place.start("host-a")
    place.start("host-b")
    await place.deployed("1.0.0")
    return place


async def versions(place: Site) -> list[str]:
    seen = await place.store.observe()
    return sorted(g.release.version for g in seen.slots)


async def test_release_reaches_every_slot_and_the_edge(
    running: Site, traefik: TraefikServer
) -> None:
    await running.deployed("1.1.0")
    assert await versions(running) == ["1.1.0", "1.1.0"]
    async with httpx.AsyncClient(base_url=traefik.url, trust_env=False) as web:
        answers = [(await web.get("/anything")).json()["version"] for _ in range(4)]
    assert answers == ["1.1.0"] * 4


async def test_log_of_an_instance_is_read_by_the_agent_of_its_host(running: Site) -> None:
    async with open_redis(running.environ["REDIS_URL"]) as client:
        logs = RedisLogs(client, running.environment)
        assert await logs.ask("host-b", 1, 5) == ("serving 1.0.0",)


async def test_release_that_never_gets_ready_comes_back_by_itself(running: Site) -> None:
    ended = await running.ended(await running.roll("1.2.0", ready=False))
    assert ended.state is State.ROLLED_BACK
    assert "has no model" in ended.cause
    assert await versions(running) == ["1.0.0", "1.0.0"]


async def test_release_that_fails_its_checks_twice_comes_back_by_itself(running: Site) -> None:
    await running.apply(replace(QUICK, smoke_url="http://127.0.0.1:9"))
    await running.deployed("1.1.0")
    ended = await running.ended(await running.roll("1.2.0", smoke_code=4))
    assert ended.state is State.ROLLED_BACK
    assert "http://127.0.0.1:9 failed 2 times: ran smoke" in ended.cause
    assert await versions(running) == ["1.1.0", "1.1.0"]


async def test_crashing_release_is_given_up_before_its_start_deadline_matters(
    running: Site,
) -> None:
    ended = await running.ended(await running.roll("1.2.0", crash="no licence"))
    assert ended.state is State.ROLLED_BACK


async def test_rollout_goes_on_when_its_leader_is_killed(running: Site) -> None:
    rollout = await running.roll("1.1.0")

    async def progressing() -> bool:
        return (await running.ledger.rollout(rollout)).state is State.PROGRESSING

    assert await eventually(progressing, LONG_S)
    leader = await _leader(running)
    running.kill(leader)
    assert len(processes(running.folder / leader)) >= 1  # its instances serve on
    before = await running.store.epoch()

    async def succession() -> bool:
        return await running.store.epoch() > before

    assert await eventually(succession, LONG_S)
    running.start(leader)
    assert (await running.ended(rollout)).state is State.SUCCEEDED


async def test_agent_that_leaves_leaves_its_instances_and_the_lease(running: Site) -> None:
    leader = await _leader(running)
    before = await running.store.epoch()
    agent = running.agents.pop(leader)
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(agent.wait, 10) == 0
    assert len(processes(running.folder / leader)) == 1

    async def succession() -> bool:
        return await running.store.epoch() > before

    # Without waiting for the lease to expire, which takes 5 s.
    assert await eventually(succession, 3.0)


async def _leader(place: Site) -> str:
    """The host whose agent leads, by the lease."""
    from controlplane.adapters.redis.lease import RedisLease

    async with open_redis(place.environ["REDIS_URL"]) as client:
        lease = RedisLease(client, place.environment)
        assert await eventually(lease.holder, LONG_S)
        held = await lease.holder()
    assert held is not None
    return held[0].partition("#")[0]


def told(place: Site, host: str, environment: str = "", **environ: str) -> tuple[int, str]:
    """How an agent that cannot work ends, and its last line."""
    ended = subprocess.run(
        place.command(host, environment),
        env=place.environ | environ,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


async def test_agent_says_what_is_wrong_and_ends(place: Site) -> None:
    nowhere = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    mistakes = {
        "PostgreSQL": told(place, "host-a", DATABASE_URL=nowhere["DATABASE_URL"]),
        "REDIS_URL": told(place, "host-a", REDIS_URL=nowhere["REDIS_URL"]),
        "no environment": told(place, "host-a", "nope"),
        "no host": told(place, "host-z"),
    }
    for part, (code, sentence) in mistakes.items():
        assert code == 1
        assert part in sentence


async def test_second_agent_in_a_hosts_folder_is_refused(running: Site) -> None:
    code, sentence = told(running, "host-a")
    assert code == 1
    assert "host-a" in sentence


async def test_killed_instance_leaves_a_word_in_the_log_and_its_restarts_are_counted(
    running: Site,
) -> None:
    processes(running.folder / "host-a", CAMP_INSTANCE="host-a/1")[0].kill()

    async def told() -> bool:
        events = await running.ledger.recent_events(running.environment, None, 50)
        return any("host-a/1 of 1.0.0 ended with signal 9" in e.message for e in events)

    assert await eventually(told, LONG_S)

    async def counted() -> bool:
        return [slot.restarts for slot in await slots_of(running, "host-a")] == [1]

    assert await eventually(counted, LONG_S)
    log = (running.folder / "host-a.log").read_text()
    assert "restart 1 of 3" in log
    assert {"works", "fetches", "starts"} <= set(re.findall(r"\w+", log))


async def test_second_machine_under_a_hosts_name_does_nothing_and_both_sides_say_so(
    running: Site,
) -> None:
    before = await slots_of(running, "host-a")
    other = running.start_twin("host-a")

    async def seen() -> bool:
        rows = {row.name: row for row in (await running.store.observe()).hosts}
        return rows["host-a"].rival is not None

    assert await eventually(seen, LONG_S)
    rollout = await running.roll("1.1.0")

    async def named() -> bool:
        blocker = (await running.ledger.rollout(rollout)).blocker
        return blocker is not None and blocker.code == "host_claimed_twice"

    assert await eventually(named, LONG_S)
    assert "host_taken" in other.read_text()
    assert processes(running.folder / "host-a-twin") == []
    assert await slots_of(running, "host-a") == before
    running.kill("host-a-twin")
    assert (await running.ended(rollout)).state is State.SUCCEEDED


async def slots_of(place: Site, host: str) -> tuple[SlotReport, ...]:
    """What is reported of a host's slots."""
    (report,) = [row.report for row in (await place.store.observe()).hosts if row.name == host]
    assert report is not None
    return report.slots
