from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from litestar import get
from litestar.datastructures import State

from camp.http import sse
from camp.ops.schema import SchemaHistory
from tests.service import USER, client_of, settings
from tests.waiting import eventually

HISTORY = SchemaHistory("0002", frozenset({"0002"}))
DRAIN = {"deadline_s": 60}


@get("/events")
async def events(state: State) -> sse.EventStream:
    """What another router's event stream looks like."""

    async def source() -> AsyncGenerator[bytes, None]:
        with state.lifecycle.event_stream():
            yield sse.event("hello", {})
            await state.lifecycle.draining.wait()
            yield sse.event("draining", {})

    return sse.EventStream(source(), 30)


async def test_drained_instance_is_unready_at_once_and_still_serves() -> None:
    async with client_of(settings(), history=HISTORY) as client:
        for _ in range(2):
            assert (await client.post("/internal/drain", json=DRAIN)).status_code == 202
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        index = await client.get("/")
        assert (index.status_code, index.headers["connection"]) == (200, "close")
        assert (await client.get("/health")).json()["draining"] is True


async def test_drain_ends_event_streams() -> None:
    async with client_of(settings(), history=HISTORY, extra=(events,)) as client:
        lifecycle = client.app.state.lifecycle  # type: ignore[attr-defined]
        stream = asyncio.create_task(client.get("/events"))
        assert await eventually(lambda: lifecycle.event_streams == 1)
        health = (await client.get("/health")).json()
        assert (health["event_streams"], health["requests"]) == (1, 0)
        await client.post("/internal/drain", json=DRAIN)
        assert (await stream).text.endswith("event: draining\ndata: {}\n\n")
        assert lifecycle.idle


AGENT = {"authorization": "Bearer agent-token"}


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", AGENT, 202),
        # Once there is a token, being on this machine is no longer enough.
        ("127.0.0.1", {}, 401),
        ("::1", {}, 401),
        ("10.0.0.9", {}, 401),
        ("10.0.0.9", AGENT, 202),
        ("10.0.0.9", {"authorization": "Bearer wrong"}, 401),
        ("127.0.0.1", AGENT | {"x-forwarded-for": "x"}, 403),
        ("unix", {}, 401),
    ],
)
async def test_only_this_host_or_its_agent_may_drain(
    peer: str, headers: dict[str, str], status: int
) -> None:
    made = settings(CAMP_AGENT_TOKEN="agent-token")
    async with client_of(made, history=HISTORY, peer=peer) as client:
        response = await client.post("/internal/drain", json=DRAIN, headers=headers)
        assert response.status_code == status


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_without_an_agent_token_this_machine_drains(peer: str) -> None:
    async with client_of(settings(), history=HISTORY, peer=peer) as client:
        assert (await client.post("/internal/drain", json=DRAIN)).status_code == 202


# What Traefik adds, what HAProxy adds with `option forwardfor`, and the standards.
@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via"]
)
async def test_what_came_through_an_edge_reaches_neither_metrics_nor_drain(header: str) -> None:
    async with client_of(settings(), history=HISTORY) as client:
        through = {header: "203.0.113.9"}
        metrics = await client.get("/metrics", headers=through)
        assert (metrics.status_code, metrics.json()["code"]) == (403, "forbidden")
        assert "this instance itself" in metrics.json()["detail"]
        drained = await client.post("/internal/drain", json=DRAIN, headers=through)
        assert drained.status_code == 403
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/health", headers=through)).json()["draining"] is False


async def test_without_an_agent_token_nobody_drains_from_afar() -> None:
    async with client_of(settings(), history=HISTORY, peer="10.0.0.9") as client:
        del client.headers["authorization"]
        assert (await client.post("/internal/drain", json=DRAIN)).status_code == 403
        signed_in = await client.post("/internal/drain", json=DRAIN, headers=USER)
        assert signed_in.status_code == 403


async def test_probes_do_not_count_as_requests() -> None:
    async with client_of(settings(), history=HISTORY) as client:
        health = (await client.get("/health")).json()
        assert (health["requests"], health["streams"], health["database"]) == (0, 0, "down")
        assert (health["status"], health["redis"]) == ("degraded", "off")


async def test_metrics_show_the_drain_and_count_by_route() -> None:
    async with client_of(settings(), history=HISTORY) as client:
        await client.get("/nowhere/1")
        await client.get("/")
        await client.post("/internal/drain", json=DRAIN)
        text = (await client.get("/metrics")).text
        assert "camp_draining 1.0" in text
        assert (
            'camp_request_duration_seconds_count{method="GET",route="/",status="200"} 1.0' in text
        )
        assert 'route="unmatched",status="404"} 1.0' in text
