"""Every promise that was not kept is named; the screen fits a small terminal."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rich.console import Console

from controlplane.demo.board import Board
from controlplane.demo.measure.report import (
    Leader,
    Migrations,
    Move,
    Report,
    Requests,
    Streams,
    faults,
)
from controlplane.demo.screen import picture, shown, summary
from controlplane.domain.model import State


def move(state: State, **changes: Any) -> Move:
    good = Move(
        id="r",
        from_="1.0.0",
        to="1.1.0",
        state=state,
        duration_s=12.0,
        critical_path_s=10.0,
        ratio=1.2,
        min_ready=6,
        max_total=9,
        samples=80,
        parts_s={},
        links_s={},
        waits_s={},
    )
    return msgspec.structs.replace(good, **changes)


def report(**changes: Any) -> Report:
    good = Report(
        requests=Requests(total=10_000, failed=0, p50_ms=3, p99_ms=30, max_ms=40),
        streams=Streams(total=60, cut=0, resumed=0, fewest_open=20),
        rollouts=[move(State.SUCCEEDED), move(State.ROLLED_BACK), move(State.SUCCEEDED)],
        leader=Leader(kills=1, failover_s=[5.0]),
        migrations=Migrations(applied=1, runs=1, revisions=["0003"]),
        first_deploy=move(State.SUCCEEDED, from_="", min_ready=0),
        failures=[],
        duration_s=120.0,
    )
    return msgspec.structs.replace(good, **changes)


def test_good_report_has_no_fault() -> None:
    assert list(faults(report())) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"requests": Requests(total=10_000, failed=1, p50_ms=0, p99_ms=0, max_ms=0)}, "1 of"),
        ({"requests": Requests(total=9_999, failed=0, p50_ms=0, p99_ms=0, max_ms=0)}, "Only 9999"),
        ({"streams": Streams(total=60, cut=2, resumed=0, fewest_open=20)}, "2 of 60 streams"),
        ({"streams": Streams(total=59, cut=0, resumed=0, fewest_open=20)}, "Only 59 streams"),
        ({"streams": Streams(total=60, cut=0, resumed=0, fewest_open=19)}, "only 19 streams"),
        ({"rollouts": [move(State.FAILED, cause="It broke.")]}, "failed instead of succeeded"),
        ({"rollouts": [move(State.SUCCEEDED, min_ready=5)]}, "left 5 ready"),
        ({"leader": Leader(kills=0, failover_s=[])}, "killed 0 times"),
        ({"leader": Leader(kills=1, failover_s=[7.2])}, "took 7.2 s"),
        ({"migrations": Migrations(applied=1, runs=2, revisions=["0003"])}, "in 2 runs"),
    ],
)
def test_each_broken_promise_is_named(changes: dict[str, Any], named: str) -> None:
    found = list(faults(report(**changes)))
    assert [named in fault for fault in found] == [True]


def test_report_has_the_promised_shape() -> None:
    told = msgspec.to_builtins(report())
    assert {"requests", "streams", "rollouts", "leader", "migrations"} <= told.keys()
    assert {"from", "to", "state", "duration_s", "critical_path_s", "min_ready"} <= told[
        "rollouts"
    ][0].keys()


def drawn(what: Any) -> list[str]:
    console = Console(width=80, height=24, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


def test_picture_fits_80_by_24() -> None:
    board = Board()
    for number in range(30):
        board.say(f"{number} " + "a long line " * 20)
    lines = drawn(picture(board))
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert any("29 a long line" in line for line in lines)


def test_summary_says_whether_it_went_well() -> None:
    assert any("No request failed" in line for line in drawn(summary(report())))
    bad = report(faults=["7 of 10 requests failed."])
    assert any("✗ 7 of 10" in line for line in drawn(summary(bad)))


async def test_without_a_terminal_news_are_lines() -> None:
    console, board = Console(force_terminal=False, width=80), Board()
    with console.capture() as capture:
        async with shown(board, console):
            board.say("host-a [fetches] 1.1.0")
    assert capture.get().endswith("s  host-a [fetches] 1.1.0\n")
