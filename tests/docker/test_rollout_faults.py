"""Rollouts on a real engine while containers, agents and the engine itself fail."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from controlplane.domain.model import State
from controlplane.embedded.servers import TraefikServer
from tests.agents import LONG_S
from tests.containers import Images
from tests.engines import OwnEngine, own_engine
from tests.sites import DockerSite, docker_site
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300, func_only=True)]


@pytest.fixture
def servers(migrated_database_url: str, redis_url: str, traefik: TraefikServer) -> dict[str, str]:
    """The environment of agents; the edge is `traefik`."""
    servers = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_url}
    return os.environ | servers | {"ENVIRONMENT": "local"}


@pytest.fixture
async def site(
    tmp_path: Path,
    servers: dict[str, str],
    traefik: TraefikServer,
    images: Images,
    engine: docker.DockerClient,
) -> AsyncIterator[DockerSite]:
    """Both agents run and 1.0.0 is deployed."""
    async with docker_site(tmp_path, servers, traefik.api_url, images, engine) as made:
        made.start("host-a")
        made.start("host-b")
        await made.deployed("1.0.0")
        yield made


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"ready": False}, "has no model"),
        ({"crash": "no licence"}, "ended with code 1: crashed: no licence"),
    ],
)
async def test_release_that_does_not_serve_is_taken_back(
    site: DockerSite, behaviour: dict[str, object], words: str
) -> None:
    before = {c.id for c in site.containers()}
    ended = await site.ended(await site.roll("1.2.0", **behaviour))
    assert ended.state is State.ROLLED_BACK
    assert words in ended.cause
    assert {c.id for c in site.containers()} == before


async def test_agent_killed_between_start_and_report_starts_no_second(site: DockerSite) -> None:
    rollout = await site.roll("1.1.0")
    digest = site.images.release("1.1.0").digest

    def begun() -> list[str]:
        new = site.containers(digest=digest)
        return [c.labels["camp.host"] for c in new if c.status == "running"]

    assert await eventually(begun, LONG_S)
    (host,) = begun()
    site.kill(host)
    (first,) = site.containers(digest=digest, host=host)
    site.start(host)
    assert (await site.ended(rollout)).state is State.SUCCEEDED
    assert [c.id for c in site.containers(host=host)] == [first.id]


async def test_engine_restarted_in_the_middle_of_a_batch_is_named_and_survived(
    tmp_path: Path, servers: dict[str, str], traefik: TraefikServer, images: Images
) -> None:
    with own_engine() as own:
        environ = servers | {"DOCKER_HOST": own.url}
        client = own.client()
        async with docker_site(tmp_path, environ, traefik.api_url, images, client) as site:
            site.start("host-a")
            site.start("host-b")
            await site.deployed("1.0.0")
            await _restarted_in_a_batch(site, own)
        client.close()


async def _restarted_in_a_batch(site: DockerSite, own: OwnEngine) -> None:
    rollout = await site.roll("1.1.0")

    async def batch() -> bool:
        new = site.containers(digest=site.images.release("1.1.0").digest)
        return any(c.status == "running" for c in new)

    assert await eventually(batch, LONG_S)
    own.stop()

    async def named() -> bool:
        await site.look(rollout)
        return "runtime_unavailable" in {code for code, _ in site.blockers}

    assert await eventually(named, LONG_S), site.blockers
    own.start()
    ended = await site.ended(rollout)
    # An instance that had no time to get ready before the engine went counts as failed.
    assert ended.state in (State.SUCCEEDED, State.ROLLED_BACK), ended.cause
    sentence = next(s for code, s in site.blockers if code == "runtime_unavailable")
    assert "cannot see its instances, which may still serve: The Docker engine" in sentence
    assert len(site.containers()) == 2
