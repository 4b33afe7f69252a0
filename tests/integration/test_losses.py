"""What is lost for good, or lost by one side only, on real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.domain.model import State
from controlplane.domain.routing import Published
from controlplane.embedded.servers import TraefikServer
from tests.agents import LONG_S, QUICK, Site
from tests.proxy import Proxy
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def lease(place: Site) -> AsyncIterator[RedisLease]:
    async with open_redis(place.environ["REDIS_URL"]) as client:
        yield RedisLease(client, place.environment)


async def leads(lease: RedisLease, host: str) -> bool:
    held = await lease.holder()
    return held is not None and held[0].startswith(f"{host}#")


async def test_leader_that_loses_only_postgresql_leaves_the_lead_and_says_why(
    place: Site, lease: RedisLease
) -> None:
    url = make_url(place.environ["DATABASE_URL"])
    assert url.port is not None
    way = Proxy(url.port)
    await way.open()
    through = url.set(host="127.0.0.1", port=way.port).render_as_string(hide_password=False)
    place.start("host-a", DATABASE_URL=through)
    assert await eventually(lambda: leads(lease, "host-a"), LONG_S)
    place.start("host-b")
    await way.cut()
    assert await eventually(lambda: leads(lease, "host-b"), LONG_S)

    async def said() -> bool:
        reason = await lease.reason()
        told = ("", "") if reason is None else (reason.holder.partition("#")[0], reason.code)
        return told == ("host-a", "store_unavailable")

    assert await eventually(said, LONG_S)


async def test_host_lost_for_good_is_left_behind_catches_up_and_can_be_forgotten(
    place: Site,
) -> None:
    await place.apply(replace(QUICK, max_unavailable=1, host_silence_s=2.0))
    place.start("host-a")
    place.start("host-b")
    await place.deployed("1.0.0")
    place.kill("host-b")

    await place.deployed("1.1.0")
    assert [row.behind for row in (await place.store.observe()).hosts] == [False, True]

    place.start("host-b")

    async def caught_up() -> bool:
        seen = await place.store.observe()
        now = {g.host: g.release.version for g in seen.slots}
        return now == dict.fromkeys(("host-a", "host-b"), "1.1.0") and not seen.hosts[1].behind

    assert await eventually(caught_up, LONG_S)
    place.kill("host-b")

    async def silent() -> bool:
        seen = await place.store.observe()
        return seen.now - seen.hosts[1].seen_at > 5.0

    assert await eventually(silent, LONG_S)
    await place.ledger.forget_host(place.environment, "host-b", "alice", "burnt")
    await place.deployed("1.2.0")
    assert {g.host for g in (await place.store.observe()).slots} == {"host-a"}


async def test_truth_that_went_back_stops_every_decision_until_it_is_accepted(
    place: Site, lease: RedisLease, traefik: TraefikServer
) -> None:
    place.start("host-a")
    place.start("host-b")
    await place.deployed("1.0.0")
    async with place.engine.begin() as connection:
        for table in ("slots", "routing", "hosts"):
            await connection.execute(text(f"CREATE TABLE saved_{table} AS TABLE {table}"))
    await place.deployed("1.1.0")
    ahead = await _published(place)
    async with place.engine.begin() as connection:
        await connection.execute(text("DELETE FROM slots"))
        await connection.execute(text("INSERT INTO slots SELECT * FROM saved_slots"))
        await connection.execute(
            text(
                "UPDATE hosts h SET desired_version = s.desired_version"
                " FROM saved_hosts s WHERE s.name = h.name"
            )
        )
        await connection.execute(
            text(
                "UPDATE routing SET (revision, members) ="
                " (SELECT revision, members FROM saved_routing)"
            )
        )

    async def noticed() -> bool:
        reason = await lease.reason()
        return reason is not None and reason.code == "truth_went_back"

    assert await eventually(noticed, LONG_S)
    assert await _published(place) == ahead
    assert await _versions(traefik) == {"1.1.0"}

    now = await place.ledger.accept_truth(
        place.environment, ahead, "alice", "a failover lost a commit"
    )

    async def goes_on() -> bool:
        table = await _published(place)
        return table.revision >= now.revision and table.epoch > ahead.epoch

    assert await eventually(goes_on, LONG_S)
    assert await _versions(traefik) == {"1.1.0"}
    ended = await place.ended(await place.roll("1.2.0"))
    assert ended.state is State.SUCCEEDED
    assert await _versions(traefik) == {"1.2.0"}


async def _published(place: Site) -> Published:
    async with (
        open_redis(place.environ["REDIS_URL"]) as client,
        TraefikRouting(client, place.environment) as routing,
    ):
        found = await routing.published()
    assert found is not None
    return found


async def _versions(traefik: TraefikServer) -> set[str]:
    async with httpx.AsyncClient(base_url=traefik.url, trust_env=False) as web:
        return {(await web.get("/anything")).json()["version"] for _ in range(6)}
