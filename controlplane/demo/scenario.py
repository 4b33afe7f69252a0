"""The demo's story: deploy, replace under load without a leader, fail, come back, go back.

Nothing in it is scripted into the product: it steers over the control API as an operator would,
kills a process as an accident would, and believes only what requests, streams and samples say.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from controlplane.demo.board import STEPS, Board
from controlplane.demo.measure import report as reports
from controlplane.demo.measure.lifetimes import lifetimes
from controlplane.demo.measure.load import Status
from controlplane.demo.measure.loading import LoadProcess
from controlplane.demo.measure.report import Leader, Migrations, Move, Report, Requests, Streams
from controlplane.demo.site import Site, ended, until
from controlplane.demo.stage import DemoFailed
from controlplane.domain.errors import ControlError
from controlplane.domain.model import State
from controlplane.wire import LeaderView, RolloutView

SAMPLE_INTERVAL_S = 0.2
WATCH_INTERVAL_S = 0.5
# What a service supervisor waits before it starts a dead agent again.
SUPERVISOR_DELAY_S = 2.5
ADMITTED_BEFORE_KILL = 2
LOAD_DEADLINE_S = 90.0


@dataclass(frozen=True)
class Options:
    """What a user may choose; `rate` is requests a second, `streams` how many stand at once."""

    folder: Path
    rate: float = 150.0
    streams: int = 28
    keep: bool = False


async def play(site: Site, board: Board, options: Options) -> Report:
    """The whole story; every promise that was not kept is in the report's faults."""
    async with AsyncExitStack() as stack:
        board.step = 1
        first = await _first_deploy(site, board)
        load = await stack.enter_async_context(
            LoadProcess(
                site.servers.traefik.url,
                options.rate,
                options.streams,
                site.folder,
                site.user_token,
            )
        )
        for showing in (_show_fleet(site, board, load), _show_events(site, board)):
            stack.push_async_callback(ended, asyncio.create_task(showing))
        board.say(f"The load begins: {options.rate:g} requests/s, {options.streams} streams")
        await until(lambda: _all_stand(load, options), "The streams did not all begin.")
        try:
            moves, failover_s = await _rollouts(site, board)
            moves.insert(0, first)
            await until(lambda: _enough(load), "The load is too thin.", LOAD_DEADLINE_S)
            board.say("The load ends; open streams run to their end")
            final = await load.stop()
        finally:
            if load.latest is not None:
                (site.folder / "load.json").write_bytes(_pretty(load.latest))
    board.over = True
    return _judged(site, board, final, moves=moves, failover_s=failover_s)


async def _first_deploy(site: Site, board: Board) -> Move:
    rollout = await site.client.start(site.environment, "1.0.0", reason="the demo begins")
    watching = asyncio.create_task(_show_fleet(site, board))
    try:
        done, move = await site.finished(rollout)
    finally:
        await ended(watching)
    if done.state is not State.SUCCEEDED:
        raise DemoFailed(f"The first deploy ended {done.state}: {done.cause}")
    await site.to_fleet()
    board.say("1.0.0 serves; from here on the demo steers through Traefik")
    return move


async def _rollouts(site: Site, board: Board) -> tuple[list[Move], float]:
    client, moves = site.client, []
    board.step = 2
    rollout = await client.start(site.environment, "1.1.0", reason="a new release")
    failover_s = await _kill_leader(site, board, rollout)
    moves.append(await _over(site, board, rollout))
    board.step = 3
    rollout = await client.start(
        site.environment, "1.2.0", reason="a release that never gets ready"
    )
    moves.append(await _over(site, board, rollout))
    board.step = 4
    rollout = await client.go_back(site.environment, "1.0.0", reason="an operator wants it back")
    moves.append(await _over(site, board, rollout))
    board.step = len(STEPS)
    return moves, failover_s


async def _over(site: Site, board: Board, rollout: RolloutView) -> Move:
    _, move = await site.finished(rollout)
    board.say(f"{move.from_} → {move.to} ended {move.state} after {move.duration_s:.1f} s")
    return move


async def _kill_leader(site: Site, board: Board, rollout: RolloutView) -> float:
    """SIGKILL the leading agent amid the rollout; seconds until another one leads."""
    await until(lambda: _well_under_way(site, rollout), "The rollout did not get under way.", 60.0)
    before = await _leader(site, rollout)
    if before is None:
        raise DemoFailed("Nobody led the rollout when its leader was to be killed.")
    agent = next(a for host, a in site.agents.items() if before.holder.startswith(host))
    killed_at = time.monotonic()
    await agent.stop(signal.SIGKILL)
    board.say(f"SIGKILL to {before.holder}, who led in epoch {before.epoch}")
    restart = asyncio.create_task(_supervise(site, board, agent.name))
    try:
        await until(
            lambda: _new_epoch(site, rollout, before.epoch), "Nobody took the lead again.", 30.0
        )
        failover_s = time.monotonic() - killed_at
    finally:
        await restart
    board.say(f"A new leader after {failover_s:.1f} s")
    return round(failover_s, 2)


async def _supervise(site: Site, board: Board, host: str) -> None:
    await asyncio.sleep(SUPERVISOR_DELAY_S)
    await site.agents[host].start()
    board.say(f"The agent of {host} runs again, as a service supervisor would see to")


async def _well_under_way(site: Site, rollout: RolloutView) -> bool:
    view = await site.client.rollout(rollout.id)
    if not view.active:
        raise DemoFailed(f"The rollout was over before its leader was killed: {view.state}.")
    instances = await site.client.instances(site.environment)
    new = sum(i.admitted and i.digest == rollout.target.digest for i in instances)
    return view.state is State.PROGRESSING and new >= ADMITTED_BEFORE_KILL


async def _leader(site: Site, rollout: RolloutView) -> LeaderView | None:
    return (await site.client.why(rollout.id)).leader


async def _new_epoch(site: Site, rollout: RolloutView, before: int) -> bool:
    leader = await _leader(site, rollout)
    return leader is not None and leader.epoch > before


async def _all_stand(load: LoadProcess, options: Options) -> bool:
    load.require()
    return load.latest is not None and load.latest.open >= options.streams


async def _enough(load: LoadProcess) -> bool:
    """Fast rollouts must not leave the promised numbers unproven."""
    load.require()
    now = load.latest
    return (
        now is not None
        and now.requests >= reports.LEAST_REQUESTS
        and now.streams >= reports.LEAST_STREAMS
    )


async def _show_fleet(site: Site, board: Board, load: LoadProcess | None = None) -> None:
    """Keep the board's picture of fleet and load fresh, for ever."""
    while True:
        board.load = load.latest if load else None
        board.sample = site.sampler.samples[-1] if site.sampler.samples else None
        with suppress(ControlError):  # the picture is old for a moment; nothing depends on it
            board.hosts = tuple(await site.client.hosts(site.environment))
            rollouts = await site.client.rollouts(site.environment, limit=1)
            board.rollout = rollouts[0] if rollouts else None
            board.why = await site.client.why(rollouts[0].id) if rollouts else None
        await asyncio.sleep(WATCH_INTERVAL_S)


async def _show_events(site: Site, board: Board) -> None:
    while True:
        try:
            async for event in site.client.events(site.environment):
                board.event(event)
        except ControlError as error:
            board.say(f"The events pause: {error.sentence}")


def _judged(
    site: Site, board: Board, load: Status, *, moves: list[Move], failover_s: float
) -> Report:
    report = Report(
        requests=Requests(
            total=load.requests,
            failed=load.failed,
            p50_ms=load.p50_ms,
            p99_ms=load.p99_ms,
            max_ms=load.max_ms,
        ),
        streams=Streams(
            total=load.streams, cut=load.cut, resumed=load.resumed, fewest_open=load.fewest_open
        ),
        rollouts=moves[1:],
        leader=Leader(kills=1, failover_s=[failover_s]),
        migrations=_migrations(site, moves),
        first_deploy=moves[0],
        failures=list(load.failures),
        duration_s=round(board.elapsed_s, 1),
    )
    found = list(reports.faults(report))
    report = msgspec.structs.replace(report, passed=not found, faults=found)
    (site.folder / "report.json").write_bytes(_pretty(report))
    (site.folder / "lifetimes.json").write_bytes(_pretty(lifetimes(site.sampler.samples)))
    return report


def _migrations(site: Site, moves: list[Move]) -> Migrations:
    """From the database itself: what the schema's history and the list of one-shot runs say."""
    ids = ", ".join(f"'{move.id}'" for move in moves)
    revisions = site.servers.postgres.psql(
        "SELECT revision FROM schema_history WHERE release IN ('1.1.0', '1.2.0') ORDER BY 1", "camp"
    ).split()
    runs = site.servers.postgres.psql(
        f"SELECT count(*) FROM jobs WHERE split_part(id, '/', 1) IN ({ids})",  # noqa: S608 - ours
        "camp",
    )
    return Migrations(applied=len(revisions), runs=int(runs), revisions=revisions)


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
