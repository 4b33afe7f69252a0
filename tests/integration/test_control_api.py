"""The control API over HTTP, with real PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import httpx
import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.adapters.redis.logs import RedisLogRequests, topic
from controlplane.client import ControlClient, WaitedTooLong
from controlplane.domain.errors import (
    AgentSilent,
    BusUnavailable,
    Conflict,
    Invalid,
    NotAllowed,
    NotFound,
)
from controlplane.domain.model import Policy, State
from controlplane.domain.reports import HostReport, ImageReport, Phase, SlotReport
from controlplane.domain.tokens import token_hash, token_of
from controlplane.ports.logs import LogAnswer
from controlplane.wire import EventView, PutEnvironment
from tests.ledgers import (
    EDGE,
    ENVIRONMENT,
    a_draft,
    a_release,
    deployed,
    furnish,
    lead,
)
from tests.served import Served, serving
from tests.waiting import eventually

TOKEN = token_of(bytes(32))


@dataclass(frozen=True)
class Ground:
    """One instance, its client, and the database under it."""

    served: Served
    client: ControlClient
    engine: AsyncEngine
    ledger: PostgresLedger
    database_url: str
    redis_url: str


@pytest.fixture
async def ground(
    engine: AsyncEngine, migrated_database_url: str, redis_url: str
) -> AsyncIterator[Ground]:
    ledger = PostgresLedger(engine)
    await ledger.add_operator("alice", token_hash(TOKEN))
    async with (
        serving(migrated_database_url, redis_url) as served,
        ControlClient(served.url, TOKEN) as client,
    ):
        yield Ground(served, client, engine, ledger, migrated_database_url, redis_url)


async def test_applied_count_of_instances_says_that_a_rollout_brings_it_about(
    ground: Ground,
) -> None:
    await furnish(ground.ledger, "1.0.0")
    await deployed(ground.ledger, ground.engine, "1.0.0")
    wish = PutEnvironment(hosts=["host-a", "host-b"], edges=[EDGE], policy={})
    assert (await ground.client.apply(ENVIRONMENT, wish)).notes == ()
    more = msgspec.structs.replace(wish, policy={"instances_per_host": 3})
    (note,) = (await ground.client.apply(ENVIRONMENT, more)).notes
    assert f"camp rollout scale {ENVIRONMENT} 3" in note
    begun = await ground.client.start(ENVIRONMENT, None, instances=4)
    assert begun.policy.instances_per_host == 4


@pytest.mark.parametrize(
    "path",
    ["environments", "releases", "rollouts", "hosts", "instances", "events", "events/recent"],
)
async def test_nothing_is_open_without_a_token(ground: Ground, path: str) -> None:
    async with httpx.AsyncClient() as http:
        bare = await http.get(f"{ground.served.url}/control/v1/{path}")
        wrong = await http.get(
            f"{ground.served.url}/control/v1/{path}", headers={"authorization": "Bearer no"}
        )
    for response in (bare, wrong):
        assert response.status_code == 401
        assert response.headers["content-type"].startswith("application/problem+json")
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["code"] == "not_allowed"
        assert response.json()["request_id"]


async def test_what_is_written_is_read_back(ground: Ground) -> None:
    wanted = PutEnvironment(hosts=["host-a"], edges=["http://e:1"], policy={"max_surge": "50%"})
    applied = await ground.client.apply("staging", wanted)
    again = await ground.client.apply("staging", wanted)
    added = await ground.client.add_release(a_release("1.0.0"))
    known = await ground.client.add_release(a_release("1.0.0"))
    rollout = await ground.client.start("staging", "1.0.0", reason="try it")

    assert (applied.changed, again.changed) == (True, False)
    assert (added.created, known.created) == (True, False)
    assert (rollout.state, rollout.created_by, rollout.reason) == ("pending", "alice", "try it")
    assert await ground.client.rollout(rollout.id) == rollout
    assert await ground.client.rollouts("staging") == [rollout]
    assert (await ground.client.environment("staging")).active_rollout == rollout.id
    assert (await ground.client.releases())[0].release == a_release("1.0.0")


async def test_errors_arrive_as_what_they_were(ground: Ground) -> None:
    client = ground.client
    await furnish(ground.ledger, "1.0.0")
    with pytest.raises(NotFound, match="environment 'nowhere'"):
        await client.environment("nowhere")
    with pytest.raises(NotFound, match=r"release '9\.9\.9'"):
        await client.start(ENVIRONMENT, "9.9.9")
    with pytest.raises(Invalid, match=r"policy\.max_surge"):
        await client.apply(
            "x", PutEnvironment(hosts=["a"], edges=["http://e"], policy={"max_surge": -1})
        )
    first = await client.start(ENVIRONMENT, "1.0.0")
    with pytest.raises(Conflict, match=first.id):
        await client.start(ENVIRONMENT, "1.0.0")
    with pytest.raises(Conflict, match="not paused"):
        await client.steer(first.id, "resume")
    with pytest.raises(NotFound, match="no command 'explode'"):
        await client.steer(first.id, "explode")
    async with ControlClient(ground.served.url, "wrong") as stranger:
        with pytest.raises(NotAllowed, match="operator create"):
            await stranger.environments()


async def test_a_malformed_body_is_a_problem_that_names_the_field(ground: Ground) -> None:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as http:
        url = f"{ground.served.url}/control/v1/rollouts"
        unknown = await http.post(url, json={"environment": "local", "versoin": "1"})
        broken = await http.post(url, content=b"{", headers={"content-type": "application/json"})
    assert unknown.status_code == broken.status_code == 400
    assert "versoin" in unknown.text
    assert broken.headers["content-type"].startswith("application/problem+json")


async def test_a_command_wakes_the_leader(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    redis = open_redis(ground.redis_url)
    try:
        async with RedisBus(redis, ENVIRONMENT, ("leader",)) as bus:
            await ground.client.start(ENVIRONMENT, "1.0.0")
            assert await bus.wait(5.0)
    finally:
        await redis.aclose()


async def test_goal_and_report_stand_side_by_side(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    release = a_release("1.0.0")
    slot = SlotReport(0, release.spec, Phase.HEALTHY, "127.0.0.1:9", detail="fine")
    images = (ImageReport(release.digest, present=True),)
    report = HostReport("host-a", 0, 0, slots=(slot,), images=images, agent_version="1")
    await PostgresStore(ground.engine, ENVIRONMENT).report(report)

    (seen, unseen) = await ground.client.hosts(ENVIRONMENT)
    (instance,) = await ground.client.instances()
    assert (seen.name, seen.silent, seen.images) == ("host-a", False, (release.digest,))
    assert (unseen.name, unseen.silent_s, unseen.silent) == ("host-b", None, True)
    assert (instance.phase, instance.goal, instance.admitted) == ("healthy", None, False)
    assert seen.instances == (instance,)


async def test_why_says_that_nobody_leads(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    rollout = await ground.client.start(ENVIRONMENT, "1.0.0")
    why = await ground.client.why(rollout.id)

    assert why.blocker is not None
    assert why.blocker.code == "no_leader"
    assert "camp agent" in why.sentence
    assert why.leader is None
    assert why.deadline_in_s > 0
    assert "abort" in why.next_actions


async def test_why_names_the_leader(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    rollout = await ground.client.start(ENVIRONMENT, "1.0.0")
    redis = open_redis(ground.redis_url)
    await RedisLease(redis, ENVIRONMENT).acquire("host-a", 3, 30.0)
    await redis.aclose()

    why = await ground.client.why(rollout.id)
    assert why.leader is not None
    assert (why.leader.holder, why.leader.epoch) == ("host-a", 3)
    assert why.blocker is None


async def test_events_resume_after_the_last_id_at_once(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    rollout = await ground.client.start(ENVIRONMENT, "1.0.0")
    past = await ground.client.recent_events()
    async with aclosing(ground.client.events(after=past[0].id)) as coming:
        again = [await anext(coming) for _ in past[1:]]
        assert again == past[1:]
        await ground.client.steer(rollout.id, "abort")
        assert "abort" in (await anext(coming)).message


async def test_events_of_one_rollout_hold_no_others(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    rollout = await ground.client.start(ENVIRONMENT, "1.0.0")
    async with aclosing(ground.client.events(rollout=rollout.id, after=0)) as coming:
        assert (await anext(coming)).rollout == rollout.id
        await ground.ledger.apply(a_draft(name="other", edges=("http://127.0.0.1:9",)), "bob")
        await ground.client.steer(rollout.id, "abort")
        assert "abort" in (await anext(coming)).message
    with pytest.raises(NotFound):
        await anext(ground.client.events(rollout="r-none", after=0))


async def test_a_draining_instance_ends_its_event_streams(ground: Ground) -> None:
    await ground.ledger.apply(a_draft(), "alice")
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers) as http:
        url = f"{ground.served.url}/control/v1/events"
        async with http.stream("GET", url) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == ": events"
            assert ground.served.lifecycle.event_streams == 1
            ground.served.lifecycle.drain(30.0)
            rest = [line async for line in lines]
        assert "event: draining" in rest
        assert ground.served.lifecycle.event_streams == 0
        assert (await http.get(url)).status_code == 503


async def test_a_client_that_leaves_is_no_longer_counted(ground: Ground) -> None:
    await ground.ledger.apply(a_draft(), "alice")
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers) as http:
        url = f"{ground.served.url}/control/v1/events?environment={ENVIRONMENT}"
        async with http.stream("GET", url) as response:
            await anext(response.aiter_lines())
    assert await eventually(lambda: ground.served.lifecycle.event_streams == 0)


async def test_events_go_on_when_the_instance_that_serves_them_is_replaced(ground: Ground) -> None:
    """Drained, gone, and another one at the same address: no event is lost or doubled."""
    await ground.ledger.apply(a_draft(), "alice")
    port = int(ground.served.url.rpartition(":")[2])
    seen: list[EventView] = []
    follower = asyncio.create_task(_collect(ground.client, seen))
    try:
        await _announce(ground, 1)
        assert await eventually(lambda: len(seen) == 2)
        ground.served.lifecycle.draining.set()
        ground.served.server.should_exit = True
        await _announce(ground, 2)
        async with serving(ground.database_url, ground.redis_url, await _freed(port)):
            await _announce(ground, 3)
            assert await eventually(lambda: len(seen) >= 4)
            ids = [event.id for event in seen]
            assert ids == sorted(set(ids))
            assert [event.data["version"] for event in seen] == [1, 2, 3, 4]
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower


async def test_waiting_ends_with_the_rollout(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    rollout = await ground.client.start(ENVIRONMENT, "1.0.0")
    waiting = asyncio.create_task(ground.client.wait(rollout.id, 10.0))
    await lead(ground.engine, State.SUCCEEDED)
    assert (await waiting).state is State.SUCCEEDED


async def test_waiting_too_long_says_on_what(ground: Ground) -> None:
    await furnish(ground.ledger, "1.0.0")
    rollout = await ground.client.start(ENVIRONMENT, "1.0.0")
    with pytest.raises(WaitedTooLong, match="No agent leads local"):
        await ground.client.wait(rollout.id, 0.1)


async def test_the_api_is_described_under_its_own_tag(ground: Ground) -> None:
    async with httpx.AsyncClient() as http:
        schema = (await http.get(f"{ground.served.url}/docs/openapi.json")).json()
    paths = {path: entry for path, entry in schema["paths"].items() if "/control/" in path}
    assert "/control/v1/rollouts/{name}/{command}" in paths
    tags = {tag for entry in paths.values() for call in entry.values() for tag in call["tags"]}
    assert tags == {"control"}


async def test_log_comes_from_the_agent_of_the_host(ground: Ground) -> None:
    await furnish(ground.ledger)
    async with (
        open_redis(ground.redis_url) as redis,
        RedisBus(redis, ENVIRONMENT, (topic("host-a"),)) as bus,
    ):
        asking = asyncio.create_task(ground.client.logs(ENVIRONMENT, "host-a", 2, 7))
        assert await bus.wait(5)
        requests = RedisLogRequests(redis, ENVIRONMENT, "host-a")
        request = await requests.next()
        assert request is not None
        await requests.answer(request, LogAnswer(("hello",)))
        assert (request.slot, request.lines, (await asking).lines) == (2, 7, ("hello",))


async def test_log_of_a_host_whose_agent_is_gone_is_given_up_with_a_sentence(
    ground: Ground,
) -> None:
    await furnish(ground.ledger)
    with pytest.raises(AgentSilent, match=r"agent of host-b did not answer within 5 s"):
        await ground.client.logs(ENVIRONMENT, "host-b", 1)
    with pytest.raises(NotFound, match="no host 'host-z'"):
        await ground.client.logs(ENVIRONMENT, "host-z", 1)
    with pytest.raises(Invalid, match="lines"):
        await ground.client.logs(ENVIRONMENT, "host-a", 1, 100_000)


async def test_log_without_redis_is_unavailable_with_the_remedy(ground: Ground) -> None:
    await furnish(ground.ledger)
    async with (
        serving(ground.database_url, "redis://127.0.0.1:1/0") as served,
        ControlClient(served.url, TOKEN) as client,
    ):
        with pytest.raises(BusUnavailable, match="check that it runs"):
            await client.logs(ENVIRONMENT, "host-a", 1)


async def _collect(client: ControlClient, seen: list[EventView]) -> None:
    async with aclosing(client.events(ENVIRONMENT, after=0)) as coming:
        async for event in coming:
            seen.append(event)  # noqa: PERF401 - each must be seen as it comes


async def _announce(ground: Ground, surge: int) -> None:
    """Write one event, whoever serves."""
    await ground.ledger.apply(a_draft(policy=Policy(max_surge=surge + 1)), "alice")


async def _freed(port: int) -> int:
    async def free() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return True
        writer.close()
        return False

    assert await eventually(free)
    return port
