"""A whole camp on this machine: servers, three agents, releases, and a client that steers it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.client import ControlClient
from controlplane.demo import stage
from controlplane.demo.hosting import Hosting
from controlplane.demo.measure.critical import critical_path
from controlplane.demo.measure.lifetimes import lifetimes
from controlplane.demo.measure.report import Move
from controlplane.demo.measure.sampler import Sampler
from controlplane.demo.stage import HOSTS, POLICY, DemoFailed, Program, Servers
from controlplane.demo.sweeper import Sweeper
from controlplane.domain.model import Release
from controlplane.embedded.kept import LOOPBACK, free_port
from controlplane.wire import RolloutView

POLL_INTERVAL_S = 0.1
API_DEADLINE_S = 20.0
ROLLOUT_DEADLINE_S = 150.0
# A machine under load may leave the operator waiting; requests under test have no patience.
STEERING_PATIENCE_S = 45.0
EVENTS_MAX = 1000
OPERATOR = "demo"


@dataclass
class Site:
    """What `opened` gives: everything that runs, and how to move and measure it."""

    folder: Path
    environment: str
    servers: Servers
    environ: dict[str, str]
    sampler: Sampler
    client: ControlClient
    token: str
    agents: dict[str, Program]
    bootstrap: Program
    through_edge: ControlClient
    user_token: str

    async def to_fleet(self) -> None:
        """From now on steer through the edge, over the very fleet that is being replaced."""
        self.client = self.through_edge
        await self.bootstrap.stop()

    async def finished(self, rollout: RolloutView) -> tuple[RolloutView, Move]:
        """Wait until a rollout is over, then measure it."""
        done = await self.client.wait(rollout.id, ROLLOUT_DEADLINE_S)
        # One more look: what ended at the very last moment shows in it.
        seen = len(self.sampler.samples)
        await until(lambda: self._sampled(seen + 1), "The sampler stands still.")
        return done, await self.measured(done)

    async def _sampled(self, least: int) -> bool:
        return len(self.sampler.samples) >= least

    async def measured(self, rollout: RolloutView) -> Move:
        """The rollout as the report tells it."""
        events = await self.client.recent_events(self.environment, rollout.id, EVENTS_MAX)
        path = critical_path(rollout, events, lifetimes(self.sampler.samples), len(HOSTS))
        samples = self.sampler.between(rollout.created_at, rollout.state_since)
        return Move(
            id=rollout.id,
            from_=rollout.source.version if rollout.source else "",
            to=rollout.target.version,
            state=rollout.state,
            duration_s=_rounded(path.duration_s),
            critical_path_s=_rounded(path.total_s),
            ratio=_rounded(path.ratio),
            min_ready=min((s.ready for s in samples), default=0),
            max_total=max((s.total for s in samples), default=0),
            samples=len(samples),
            parts_s={name: _rounded(s) for name, s in path.parts.items()},
            links_s={name: _rounded(s) for name, s in path.links.items()},
            waits_s={name: _rounded(s) for name, s in path.waits.items()},
            cause=rollout.cause,
        )


@asynccontextmanager
async def opened(
    folder: Path,
    hosting: Hosting,
    say: Callable[[str], None],
    *,
    interval_s: float,
    policy: str = POLICY,
) -> AsyncIterator[Site]:
    """Bring everything up to agents that wait for a first rollout; take everything down again.

    `folder` is absolute; `policy` is the body of a TOML table.
    The control API is served by an instance of the working tree until `to_fleet`.
    """
    lock = await asyncio.to_thread(stage.take, folder)
    async with AsyncExitStack() as stack:
        stack.callback(lock.close)
        stack.push_async_callback(hosting.close)
        await hosting.prepare()
        sweeper = Sweeper(folder, hosting.containers)
        stack.push_async_callback(asyncio.to_thread, sweeper.finish)
        building = asyncio.create_task(_built(hosting, say))
        stack.push_async_callback(ended, building)
        servers = await stage.start_servers(folder, say, hosting.bridge)
        stack.push_async_callback(asyncio.to_thread, servers.stop)
        # Before the servers: what still serves shall find them.
        stack.push_async_callback(asyncio.to_thread, sweeper.finish)
        stack.push_async_callback(hosting.end)
        arguments, more = hosting.agent(servers)
        environ = stage.environ(folder, servers) | more
        await asyncio.to_thread(servers.postgres.create_database, "camp")
        await stage.run_camp(("migrate", "upgrade"), environ, folder)
        say("The database has its schema")
        token = await stage.run_camp(("operator", "create", OPERATOR), environ, folder)
        url, bootstrap = await _bootstrap(stack, environ, folder)
        client = await stack.enter_async_context(ControlClient(url, token))
        edge = await stack.enter_async_context(
            ControlClient(servers.traefik.url, token, patience_s=STEERING_PATIENCE_S)
        )
        path = stage.environment_file(folder, servers, hosting.environment, policy)
        steering = environ | {"CAMP_URL": url, "CAMP_TOKEN": token}
        await stage.run_camp(("env", "apply", str(path)), steering, folder)
        working = ("agent", "--environment", hosting.environment, *arguments)
        agents = {host: _agent(host, working, environ, folder) for host in HOSTS}
        stack.push_async_callback(_all_stopped, list(agents.values()))
        for agent in agents.values():
            await agent.start()
        say(f"Three agents run: {', '.join(HOSTS)}")
        releases = await building
        for release in releases:
            await client.add_release(release)
        say(f"The releases are known: {', '.join(release.version for release in releases)}")
        api = servers.traefik.api_url
        sampler = Sampler(hosting.living, api, hosting.environment, interval_s)
        sampling = asyncio.create_task(sampler.run())
        stack.push_async_callback(ended, sampling)
        name, user = hosting.environment, hosting.user_token
        yield Site(
            folder, name, servers, environ, sampler, client, token, agents, bootstrap, edge, user
        )


async def _built(hosting: Hosting, say: Callable[[str], None]) -> Sequence[Release]:
    return await hosting.releases(say)


async def until(
    holds: Callable[[], Awaitable[bool]], otherwise: str, deadline_s: float = API_DEADLINE_S
) -> None:
    """Wait for a condition. Raises DemoFailed with what it means that it did not come true."""
    end = time.monotonic() + deadline_s
    while not await holds():
        if time.monotonic() > end:
            raise DemoFailed(f"{otherwise} (waited {deadline_s:g} s)")
        await asyncio.sleep(POLL_INTERVAL_S)


async def _bootstrap(
    stack: AsyncExitStack, environ: dict[str, str], folder: Path
) -> tuple[str, Program]:
    """An instance of the working tree, so that there is a control API before the fleet."""
    port = free_port()
    program = Program(
        ("serve", "--port", str(port)),
        environ | {"CAMP_INSTANCE": "bootstrap/1"},
        folder,
        "bootstrap",
    )
    stack.push_async_callback(program.stop)
    await program.start()

    async def listens() -> bool:
        program.require()
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            return False
        writer.close()
        return True

    await until(listens, "The control API did not come up; see logs/bootstrap.log.")
    return f"http://{LOOPBACK}:{port}", program


def _agent(host: str, arguments: tuple[str, ...], environ: dict[str, str], folder: Path) -> Program:
    home = folder / "agents" / host
    return Program((*arguments, "--host", host, "--folder", str(home)), environ, folder, host)


async def _all_stopped(programs: list[Program]) -> None:
    await asyncio.gather(*(program.stop() for program in programs))


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.wait({task})


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
