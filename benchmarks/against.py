"""camp and Docker Swarm change the same fleet on the same engine, one after the other.

Same images (two versions of one tree, no migration), six instances, parallelism, start-first
order, stop grace, load, Traefik and its settings; `just bench rollout --against swarm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct

from benchmarks import swarm
from controlplane.adapters.docker.engine import Engine
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.demo.bundles import as_it_is
from controlplane.demo.containers import Containers
from controlplane.demo.measure.load import Status
from controlplane.demo.measure.loading import LoadProcess
from controlplane.demo.measure.report import Move
from controlplane.demo.site import Site, opened, until
from controlplane.demo.stage import HOSTS, sources
from controlplane.domain.errors import ControlError
from controlplane.domain.model import State

GOAL = 0.5
RATE = 50.0
MONITOR_S = 1.0
GRACE_S = 10.0
WARM_UP = 250
SAMPLE_INTERVAL_S = 0.5
PER_HOST = 2
POLICY = f"""\
instances_per_host = {PER_HOST}
max_surge = {{parallelism}}
max_unavailable = 0
on_failure = "rollback"
min_healthy_s = 0.0
bake_s = {MONITOR_S}
start_deadline_s = 60.0
drain_deadline_s = {GRACE_S}
stop_grace_s = {GRACE_S}
"""


class Side(Struct, frozen=True, kw_only=True):
    """Seconds that the update and the rollback took, and what became of the requests meanwhile."""

    update_s: float
    rollback_s: float
    requests: int
    failed: int
    p99_ms: float
    failures: list[str] = []


class Comparison(Struct, frozen=True, kw_only=True):
    """Ratios are camp's time divided by Swarm's."""

    parallelism: int
    camp: Side
    swarm: Side
    update_ratio: float
    rollback_ratio: float
    moves: list[Move]


async def compare(folder: Path, parallelism: int, say: swarm.Say) -> Comparison:
    """First camp, then Swarm. Raises ControlError."""
    engine = Engine()
    await swarm.require(engine)
    hosting = Containers(folder, sources(), {"1.0.0": as_it_is, "1.1.0": as_it_is})
    policy = POLICY.format(parallelism=parallelism)
    async with opened(folder, hosting, say, interval_s=SAMPLE_INTERVAL_S, policy=policy) as site:
        ours, moves = await _camp(site, say)
        await asyncio.gather(*(agent.stop() for agent in site.agents.values()))
        await swarm.remove_containers(f"camp.environment={site.environment}")
        theirs = await _swarm(site, hosting, engine, parallelism, say)
    return Comparison(
        parallelism=parallelism,
        camp=ours,
        swarm=theirs,
        update_ratio=ours.update_s / theirs.update_s,
        rollback_ratio=ours.rollback_s / theirs.rollback_s,
        moves=moves,
    )


async def _camp(site: Site, say: swarm.Say) -> tuple[Side, list[Move]]:
    client, name = site.client, site.environment
    await _succeeded(site, (await client.start(name, "1.0.0", reason="benchmark")).id)
    url = site.servers.traefik.url
    async with LoadProcess(url, RATE, 0, site.folder, site.user_token) as load:
        await _warm(load)
        update = await _succeeded(site, (await client.start(name, "1.1.0", reason="benchmark")).id)
        say(f"camp's update took {update.duration_s:.1f} s")
        back = await _succeeded(site, (await client.go_back(name, "1.0.0", reason="benchmark")).id)
        say(f"camp's rollback took {back.duration_s:.1f} s")
        return _side(update.duration_s, back.duration_s, await load.stop()), [update, back]


async def _succeeded(site: Site, rollout: str) -> Move:
    done, move = await site.finished(await site.client.rollout(rollout))
    if done.state is not State.SUCCEEDED:
        raise ControlError(f"camp's rollout ended {done.state}: {done.cause}")
    return move


async def _swarm(
    site: Site, hosting: Containers, engine: Engine, parallelism: int, say: swarm.Say
) -> Side:
    assert hosting.bridge is not None
    address, image = hosting.bridge.address, hosting.repository
    told = swarm.options(hosting.env_file(site.servers), parallelism, MONITOR_S, GRACE_S)
    told += ["--container-label", f"camp.environment={site.environment}"]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(swarm.swarm(address))
        redis = await stack.enter_async_context(open_redis(site.servers.redis.url()))
        routing = await stack.enter_async_context(TraefikRouting(redis, site.environment))
        service = swarm.Service(site.environment, address, engine, routing)
        stack.push_async_callback(service.end)
        await service.create(f"{image}:1.0.0", told, PER_HOST * len(HOSTS))
        say("Swarm serves 1.0.0")
        load = await stack.enter_async_context(
            LoadProcess(site.servers.traefik.url, RATE, 0, site.folder, site.user_token)
        )
        await _warm(load)
        update_s = await service.update(f"{image}:1.1.0")
        say(f"Swarm's update took {update_s:.1f} s")
        rollback_s = await service.rollback()
        say(f"Swarm's rollback took {rollback_s:.1f} s")
        return _side(update_s, rollback_s, await load.stop())


async def _warm(load: LoadProcess) -> None:
    async def warm() -> bool:
        load.require()
        return load.latest is not None and load.latest.requests >= WARM_UP

    await until(warm, "The load does not come up.", 60.0)


def _side(update_s: float, rollback_s: float, load: Status) -> Side:
    return Side(
        update_s=update_s,
        rollback_s=rollback_s,
        requests=load.requests,
        failed=load.failed,
        p99_ms=load.p99_ms,
        failures=[f"{failed.route}: {failed.error}" for failed in load.failures[:10]],
    )


def lines(found: Comparison) -> Iterator[str]:
    """The comparison as a table."""
    ours, theirs = found.camp, found.swarm
    yield f"{'':<24}{'camp':>10}{'swarm':>10}{'ratio':>8}   (goal: at most {GOAL})"
    rows = (
        ("update", ours.update_s, theirs.update_s, found.update_ratio),
        ("rollback", ours.rollback_s, theirs.rollback_s, found.rollback_ratio),
    )
    for name, ours_s, theirs_s, ratio in rows:
        yield f"{name:<24}{ours_s:8.2f} s{theirs_s:8.2f} s{ratio:8.2f}"
    yield f"{'requests':<24}{ours.requests:>10,}{theirs.requests:>10,}"
    yield f"{'failed requests':<24}{ours.failed:>10}{theirs.failed:>10}"
    yield f"{'p99 while changing':<24}{ours.p99_ms:7.0f} ms{theirs.p99_ms:7.0f} ms"
    for name, side in (("camp", ours), ("swarm", theirs)):
        yield from (f"  {name}: {failure}" for failure in side.failures)
    yield ""
    yield (
        f"6 instances, {found.parallelism} at a time, start-first, {RATE:g} requests/s, stop grace"
        f" {GRACE_S:g} s, one engine, camp first."
    )
    yield (
        "camp waits until a new instance says ready, until the edge uses it and no longer the old"
        " one, until the old one is idle, and until it has ended; at the end it watches for"
        f" {MONITOR_S:g} s."
    )
    yield (
        "Swarm waits until a new task passed the image's HEALTHCHECK (every 1 s) and tells the old"
        f" one to stop; at the end it watches for {MONITOR_S:g} s. It waits neither for the edge"
        " nor for the old tasks' end; a follower gives the edge its healthy tasks every 0.1 s."
    )
