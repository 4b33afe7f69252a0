"""`camp demo`: the whole system on this machine, under load, with accidents."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from controlplane.cli.common import ExitCode, Finite, json_option, leave, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from controlplane.demo.hosting import Hosting
    from controlplane.demo.measure.report import Report
    from controlplane.demo.scenario import Options
    from controlplane.demo.site import Site

T = TypeVar("T")


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
@click.option(
    "--rate",
    type=Finite(1, 5000),
    default=150.0,
    show_default=True,
    help="Requests a second through Traefik.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 500),
    default=28,
    show_default=True,
    help="Chat streams open at once; each lasts 8 to 10 seconds.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".camp/demo"),
    show_default=True,
    help="Emptied at the start; logs and report.json stay there.",
)
@click.option(
    "--runtime",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="docker: real images, a registry, and containers of DOCKER_HOST's engine.",
)
@json_option
def demo(
    *, keep: bool, rate: float, streams: int, folder: Path, runtime: str, as_json: bool
) -> None:
    """Deploy, replace, break and roll back six instances under load, all on this machine.

    Starts PostgreSQL, Redis, Traefik and three agents; deploys 1.0.0, rolls to 1.1.0 while its
    leader is killed, to 1.2.0 which never gets ready, and back to 1.0.0. Exit code 0 only when
    no request failed, no stream was cut and every rollout ended as it should.

    With --runtime docker the first run takes minutes more, because it builds images.

    Example: camp demo --keep
    """
    from rich.console import Console

    from controlplane.demo.scenario import Options

    options = Options(folder.resolve(), rate, streams, keep)
    # With --json only the report goes to standard output.
    console = Console(stderr=as_json)
    try:
        report = asyncio.run(_stoppable(_demo(options, runtime, console)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped; nothing of the demo runs any more.")
        sys.exit(ExitCode.INTERRUPTED)
    if as_json:
        print_json(report)
    leave(ExitCode.SUCCEEDED if report.passed else ExitCode.ERROR)


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """SIGTERM and SIGHUP take everything down in good order, as Ctrl-C does."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


async def _demo(options: Options, runtime: str, console: Console) -> Report:
    from controlplane.demo.board import Board
    from controlplane.demo.keeping import keep
    from controlplane.demo.scenario import SAMPLE_INTERVAL_S, play
    from controlplane.demo.screen import shown, summary
    from controlplane.demo.site import opened

    board = Board()
    async with AsyncExitStack() as stack:
        async with shown(board, console):
            site = await stack.enter_async_context(
                opened(
                    options.folder,
                    _hosting(runtime, options.folder),
                    board.say,
                    interval_s=SAMPLE_INTERVAL_S,
                )
            )
            report = await play(site, board, options)
        console.print(summary(report))
        console.print(f"Report and logs: {options.folder}", soft_wrap=True)
        if options.keep:
            _explain(site, console)
            await keep(site, console.print)
    return report


def _hosting(runtime: str, folder: Path) -> Hosting:
    from controlplane.demo.stage import sources

    if runtime == "docker":
        from controlplane.demo.containers import Containers

        return Containers(folder, sources())
    from controlplane.demo.processes import Processes

    return Processes(folder, sources())


def _camp() -> str:
    """How to call the camp that runs here, from the folder it was called in.

    Not by its bare name: `uv run` puts it on its own PATH only.
    """
    program = Path(sys.executable).with_name("camp")
    if not program.exists():
        return f"{sys.executable} -m camp"
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)


def _explain(site: Site, console: Console) -> None:
    """Where everything is, and what could be tried next."""
    camp = _camp()
    lines = (
        "",
        f"Traefik    {site.servers.traefik.url}",
        f"its API    {site.servers.traefik.api_url}/api/http/services",
        f"database   {site.environ['DATABASE_URL']}",
        f"redis      {site.environ['REDIS_URL']}",
        "",
        "Try, in another terminal, in this folder:",
        f"  export CAMP_URL={site.servers.traefik.url} CAMP_TOKEN={site.token}",
        f"  {camp} status {site.environment}",
        f"  {camp} rollout start {site.environment} 1.1.0 --watch",
        f"  {camp} rollout rollback {site.environment} --reason 'only a try'",
        f"  {camp} logs --follow {site.environment}",
        "",
        "Ctrl-C ends everything.",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
