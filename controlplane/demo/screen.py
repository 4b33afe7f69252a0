"""The demo on a terminal of 80 × 24: a picture that is drawn anew; lines elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controlplane.demo.board import STEPS, Board
from controlplane.demo.measure.report import Move, Report
from controlplane.domain.model import State
from controlplane.wire import HostView, InstanceView

REFRESH_INTERVAL_S = 0.25
NEWS_SHOWN = 5
MARKS = {
    "healthy": "●",
    "ready": "◕",
    "starting": "◌",
    "unready": "◍",
    "failed": "✗",
    "exited": "✗",
}
VERSION_COLOURS = {"1.0.0": "blue", "1.1.0": "green", "1.2.0": "magenta"}
STATE_COLOURS = {
    State.SUCCEEDED: "green",
    State.ROLLED_BACK: "yellow",
    State.ROLLING_BACK: "yellow",
    State.FAILED: "red",
    State.ABORTED: "red",
}


@asynccontextmanager
async def shown(board: Board, console: Console) -> AsyncIterator[None]:
    """Show the board while the block runs."""
    if not console.is_terminal:
        board.tell = lambda line: console.print(
            f"{board.elapsed_s:7.1f} s  {line}", markup=False, highlight=False, soft_wrap=True
        )
        yield
        return
    with Live(picture(board), console=console, auto_refresh=False, transient=True) as live:
        drawing = asyncio.create_task(_draw(board, live))
        try:
            yield
        finally:
            drawing.cancel()


async def _draw(board: Board, live: Live) -> None:
    while True:
        live.update(picture(board), refresh=True)
        await asyncio.sleep(REFRESH_INTERVAL_S)


def picture(board: Board) -> RenderableType:
    """The whole screen: 22 lines."""
    minutes, seconds = divmod(int(board.elapsed_s), 60)
    top = Table.grid(expand=True, padding=(0, 1))
    top.add_column(width=34)
    top.add_column(ratio=1)
    top.add_row(_steps(board), _fleet(board))
    return Panel(
        Group(top, Text(), _rollout(board), Text(), _load(board), Text(), *_news(board)),
        title=f"[bold]camp demo[/]  {minutes}:{seconds:02}",
        title_align="left",
        box=box.ROUNDED,
        border_style="dim",
        width=80,
    )


def _steps(board: Board) -> Table:
    grid = Table.grid(padding=(0, 1))
    for number, step in enumerate(STEPS):
        if number < board.step or board.over:
            grid.add_row(Text("✓", "green"), Text(step, "dim"))
        elif number == board.step:
            grid.add_row(Text("▶", "bold cyan"), Text(step, "bold"))
        else:
            grid.add_row(Text("·", "dim"), Text(step, "dim"))
    return grid


def _fleet(board: Board) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for host in board.hosts:
        grid.add_row(_host(host), *(_instance(i) for i in host.instances))
    leader = board.why.leader if board.why else None
    lead = f"leader {leader.holder} · epoch {leader.epoch}" if leader else "no leader"
    sample = board.sample
    seen = f"{sample.ready} in service · {sample.total} processes" if sample else ""
    return Group(grid, Text(lead, "" if leader else "yellow"), Text(seen)) if board.hosts else grid


def _host(host: HostView) -> Text:
    return Text(f"{host.name}{' ?' if host.silent else ''}", "yellow" if host.silent else "bold")


def _instance(instance: InstanceView) -> Text:
    """Glyph and colour say the same, so that neither is needed."""
    phase = instance.phase or ""
    glyph = MARKS.get(phase, "·")
    if instance.goal in ("drain", "stop"):
        glyph = "▽"
    colour = VERSION_COLOURS.get(instance.version, "")
    style = "red" if glyph == "✗" else colour
    return Text(f"{glyph} {instance.version}", style if instance.admitted else f"dim {style}")


def _rollout(board: Board) -> RenderableType:
    rollout = board.rollout
    if rollout is None:
        return Group(Text("No rollout yet", "dim"), Text(), Text())
    state = Text(str(rollout.state), STATE_COLOURS.get(rollout.state, "cyan"))
    head = Text.assemble((board.title, "bold"), "  ", state, f"  {board.moved}/{board.desired}")
    bar = ProgressBar(total=max(1, board.desired), completed=board.moved, width=76)
    sentence = board.why.sentence if board.why else ""
    return Group(head, bar, Text(sentence, "dim", no_wrap=True, overflow="ellipsis"))


def _load(board: Board) -> RenderableType:
    load = board.load
    if load is None:
        return Group(Text("No load yet", "dim"), Text())
    requests = Text.assemble(
        f"requests {load.requests:6,}   ",
        (f"failed {load.failed}", "bold red" if load.failed else "green"),
        f"   {load.rps:3.0f}/s   p99 {load.recent_p99_ms:.0f} ms",
    )
    streams = Text.assemble(
        f"streams  {load.streams:6,}   ",
        (f"cut {load.cut}", "bold red" if load.cut else "green"),
        f"      {load.open} open   resumed {load.resumed}",
    )
    return Group(requests, streams)


def _news(board: Board) -> Iterator[Text]:
    lines = list(board.news)[-NEWS_SHOWN:]
    for at, line in lines:
        yield Text(f"{at:6.1f}  {line}", "dim", no_wrap=True, overflow="ellipsis")
    for _ in range(NEWS_SHOWN - len(lines)):
        yield Text()


def summary(report: Report) -> RenderableType:
    """What a passed or failed demo ends with."""
    moves = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("rollout", "ended", "took", "critical", "ratio", "ready ≥", "total ≤"):
        left = column in ("rollout", "ended")
        moves.add_column(column, justify="left" if left else "right", no_wrap=True)
    for move in (report.first_deploy, *report.rollouts):
        moves.add_row(*_cells(move))
    facts = Table.grid(padding=(0, 2))
    for name, fact in _facts(report):
        facts.add_row(Text(name, "bold"), fact)
    verdict = [Text(f"✗ {fault}", "red") for fault in report.faults]
    good = Text(
        "✓ No request failed, no stream was cut, every rollout ended as it should.", "green"
    )
    return Group(moves, facts, Text(), *(verdict or [good]))


def _cells(move: Move) -> tuple[RenderableType, ...]:
    return (
        f"{move.from_ or '–'} → {move.to}",
        Text(str(move.state), STATE_COLOURS.get(move.state, "")),
        f"{move.duration_s:.1f} s",
        f"{move.critical_path_s:.1f} s",
        f"{move.ratio:.2f}",
        str(move.min_ready) if move.from_ else "–",
        str(move.max_total),
    )


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    requests, streams, leader = report.requests, report.streams, report.leader
    latency = f"p50 {requests.p50_ms:.0f} ms, p99 {requests.p99_ms:.0f} ms"
    yield "requests", f"{requests.total:,}, {requests.failed} failed, {latency}"
    ends = f"{streams.cut} cut, {streams.resumed} resumed"
    yield "streams", f"{streams.total}, {ends}, never fewer than {streams.fewest_open} at once"
    took = ", ".join(f"{s:.1f} s" for s in leader.failover_s)
    yield "leader", f"killed {leader.kills} ×, the next one led after {took or '–'}"
    migrations = report.migrations
    yield "migrations", f"{migrations.applied} applied in {migrations.runs} run"
    yield "whole demo", f"{report.duration_s:.0f} s"
