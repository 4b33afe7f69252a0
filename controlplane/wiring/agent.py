"""The program on every host: an agent, a candidate for leadership, and the lease's renewal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.docker.container import Placement
from controlplane.adapters.host.clock import SystemClock
from controlplane.adapters.host.health import HttpHealth
from controlplane.adapters.host.identity import identity
from controlplane.adapters.host.memory import FileMemory
from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.follows import PostgresFollows
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.process.no_succession import NoSuccession
from controlplane.adapters.process.runtime import ProcessRuntime
from controlplane.adapters.redis import logs as redis_logs
from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis, translated
from controlplane.adapters.redis.lease import RedisLease
from controlplane.adapters.registry.oci import registry_of
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.agent.handover import await_host, hand_over
from controlplane.agent.logs import LogReader
from controlplane.agent.loop import Agent
from controlplane.domain.errors import ControlError, NotFound
from controlplane.domain.protocol import require_understood
from controlplane.leader.loop import LOOK_S, Leader
from controlplane.leader.sweeper import Sweeper
from controlplane.leader.tenure import RENEW_S, Tenure
from controlplane.leader.watcher import Watcher
from controlplane.ports.bus import Bus
from controlplane.ports.succession import Succession

if TYPE_CHECKING:
    from controlplane.adapters.docker.runtime import DockerRuntime

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which host of which environment this process works for, and what it needs for that.

    Instances start with `instance_environ`, of which `shared` names what shall be the same on all
    hosts, with its default; `token` authorises their drain. With a `placement` they are
    containers, otherwise processes.
    """

    environment: str
    host: str
    address: str
    folder: Path
    database_url: str
    redis_url: str
    token: str
    instance_environ: Mapping[str, str]
    version: str
    placement: Placement | None = None
    shared: Mapping[str, str | None] = field(default_factory=dict)


def run(task: Assignment) -> None:
    """Work for a host until SIGTERM or SIGINT; its instances go on without us.

    Raises HostTaken when another agent works for this host, Invalid for unusable URLs.
    """
    runtime = _runtime(task)
    try:
        asyncio.run(_work(task, runtime))
    finally:
        runtime.close()


def _runtime(task: Assignment) -> ProcessRuntime | DockerRuntime:
    if task.placement is None:
        return ProcessRuntime(
            task.folder, task.host, task.address, task.instance_environ, task.shared
        )
    # Docker's client is slow to import, and most agents of a laptop do without.
    from controlplane.adapters.docker.engine import Engine
    from controlplane.adapters.docker.runtime import DockerRuntime

    return DockerRuntime(task.folder, task.placement, Engine())


async def _succession(task: Assignment) -> tuple[Succession, str]:
    """How this agent can be replaced, and the version that it is."""
    if task.placement is None:
        return NoSuccession(), task.version
    from controlplane.adapters.docker.engine import Engine
    from controlplane.adapters.docker.succession import DockerSuccession

    succession = DockerSuccession(task.folder, task.placement, Engine())
    await succession.recognise()
    return succession, succession.version or task.version


async def _work(task: Assignment, runtime: ProcessRuntime | DockerRuntime) -> None:
    async with AsyncExitStack() as stack:
        engine = open_engine(task.database_url, f"camp agent {task.host}")
        stack.push_async_callback(engine.dispose)
        client = await stack.enter_async_context(open_redis(task.redis_url))
        store = PostgresStore(engine, task.environment)
        await _reachable(task, store, client)
        health = HttpHealth(task.token)
        stack.push_async_callback(health.close)
        host_bus = await stack.enter_async_context(
            RedisBus(client, task.environment, (f"host:{task.host}",))
        )
        leader_bus = await stack.enter_async_context(
            RedisBus(client, task.environment, ("leader",))
        )
        log_bus = await stack.enter_async_context(
            RedisBus(client, task.environment, (redis_logs.topic(task.host),))
        )
        requests = redis_logs.RedisLogRequests(client, task.environment, task.host)
        reader = LogReader(requests, runtime)
        clock, stop = SystemClock(), _asked_to_stop()
        succession, version = await _succession(task)
        await await_host(succession, runtime, clock, stop.is_set)
        # What the predecessor obeyed last is known once it has left.
        memory = FileMemory(task.folder / "epoch")
        agent = Agent(
            *(task.host, store, runtime, health, memory, host_bus, clock, succession, version),
            id=identity(task.folder),
            say=log.info,
        )
        log.info(
            "works", environment=task.environment, host=task.host, id=agent.id, version=version
        )
        leader = await _candidate(task, engine, client, leader_bus, stack)
        follows = PostgresFollows(engine, task.environment)
        watcher = Watcher(leader.tenure, follows, registry_of, leader_bus, stop)
        sweeper = Sweeper(leader.tenure, store)
        leader.abstains = agent.yields

        async def work() -> float:
            wait_s = await agent.tick()
            if agent.retires:
                await hand_over(agent, runtime, leader.tenure.step_down, clock, stop)
            return wait_s

        async def answer() -> float:
            return LOOK_S if agent.refused else await reader.tick()

        async with asyncio.TaskGroup() as loops:
            loops.create_task(_loop("agent", work, host_bus, stop))
            loops.create_task(_loop("leader", leader.tick, leader_bus, stop))
            loops.create_task(_loop("logs", answer, log_bus, stop))
            loops.create_task(
                _loop("watcher", watcher.tick, RedisBus(client, task.environment), stop)
            )
            loops.create_task(
                _loop("sweeper", sweeper.tick, RedisBus(client, task.environment), stop)
            )
            loops.create_task(_renewing(leader.tenure, stop))
        await leader.tenure.step_down()


async def _reachable(task: Assignment, store: PostgresStore, client: Redis) -> None:
    """Refuse to begin with a wrong address or name: later outages are waited out, this one told.

    Raises StoreUnavailable, BusUnavailable, NotFound, Skewed.
    """
    desired = await store.desired(task.host)
    if desired is None:
        await store.epoch()  # says so when it is the environment that is missing
        raise NotFound(
            f"Environment {task.environment} has no host {task.host};"
            " add it to the file and run `camp env apply FILE`."
        )
    require_understood(task.host, desired.protocol)
    with translated("answer a ping"):
        await client.ping()


async def _candidate(
    task: Assignment, engine: AsyncEngine, client: Redis, bus: Bus, stack: AsyncExitStack
) -> Leader:
    """This process as a possible leader; the pid tells it from a predecessor on the same host."""
    store = PostgresStore(engine, task.environment)
    routing = await stack.enter_async_context(TraefikRouting(client, task.environment))
    lease = RedisLease(client, task.environment)
    tenure = Tenure(f"{task.host}#{os.getpid()}", lease, store, SystemClock())
    return Leader(tenure, store, routing, bus)


def _asked_to_stop() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    return stop


async def _loop(
    name: str, tick: Callable[[], Awaitable[float]], bus: Bus, stop: asyncio.Event
) -> None:
    """Look, then wait for the time the look asked for or for a nudge; outlive every outage.

    A look is never cancelled, because the drivers below turn a cancellation into an outage now
    and then: it ends by its own time limits.
    """
    last = ""
    while not stop.is_set():
        try:
            wait_s = await tick()
            if last:
                log.info("recovered", loop=name)
            last = ""
        except ControlError as error:
            if error.sentence != last:
                log.warning("loop_waits", loop=name, code=error.code, detail=error.sentence)
            last = error.sentence
            wait_s = LOOK_S
        except Exception:
            # The top of a loop that must outlive its bugs: a dead leader helps nobody.
            log.exception("loop_failed", loop=name)
            wait_s = LOOK_S
        await _first(bus.wait(wait_s), stop.wait())


async def _renewing(tenure: Tenure, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await tenure.renew()
        await _first(asyncio.sleep(RENEW_S), stop.wait())


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of the waits is over."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait(tasks)
