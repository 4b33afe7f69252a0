"""What a watched rollout looks like, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from msgspec import structs
from rich.console import Console

from controlplane.cli.common import ExitCode, exit_code, table
from controlplane.cli.watch import Scene, line, picture
from controlplane.domain.model import (
    TERMINAL,
    Blocker,
    Environment,
    Kind,
    Policy,
    Release,
    Rollout,
    State,
)
from controlplane.domain.starting import begin
from controlplane.router.explain import explain
from controlplane.router.views import rollout_view
from controlplane.wire import HostView, InstanceView, LeaderView
from tests.ledgers import a_release

OLD, NEW = a_release("1.0.0"), a_release("1.1.0")
LEADER = LeaderView(holder="host-a", epoch=1)
PLACE = Environment("local", ("host-a",), ("http://e",), Policy(), current=OLD)


def a_scene(state: State, *instances: InstanceView, leader: LeaderView | None = LEADER) -> Scene:
    rollout: Rollout = begin("r-1", PLACE, Kind.DEPLOY, NEW, actor="a", reason="", now=1.0)
    rollout = replace(rollout, state=state)
    host = HostView(
        environment="local",
        name="host-a",
        silent=False,
        silent_s=0.1,
        settled=True,
        agent_version="1",
        images=(),
        image_errors=(),
        instances=instances,
    )
    return Scene(rollout_view(rollout), explain(rollout, 2.0, leader), (host,), 12.0)


def an_instance(slot: int, release: Release, *, available: bool = True) -> InstanceView:
    return InstanceView(
        environment="local",
        host="host-a",
        slot=slot,
        version=release.version,
        digest=release.digest,
        goal="run",
        phase="healthy" if available else "starting",
        address="127.0.0.1:1",
        admitted=available,
        available=available,
        drained=False,
        silent=False,
        since=0.0,
        detail="",
    )


def test_only_serving_instances_of_the_target_have_moved() -> None:
    scene = a_scene(
        State.PROGRESSING,
        an_instance(0, OLD),
        an_instance(1, NEW),
        an_instance(2, NEW, available=False),
    )
    assert line(scene) == "progressing  1/2 on 1.1.0"


def test_a_rollout_that_turned_round_counts_its_source() -> None:
    scene = a_scene(State.ROLLING_BACK, an_instance(0, OLD), an_instance(1, NEW))
    assert line(scene) == "rolling_back  1/2 on 1.0.0"


def test_a_blocker_is_said() -> None:
    assert "No agent leads local" in line(a_scene(State.PROGRESSING, leader=None))


def test_how_far_a_blocker_has_come_is_said() -> None:
    blocker = Blocker("image_missing", "host-a is still fetching.", 1.0, (), "3 of 166 MB.")
    scene = a_scene(State.PREFLIGHT)
    told = replace(scene, why=structs.replace(scene.why, blocker=blocker))
    assert line(told).endswith("host-a is still fetching. 3 of 166 MB.")


def test_the_picture_shows_hosts_versions_and_state() -> None:
    scene = a_scene(State.PROGRESSING, an_instance(0, OLD), an_instance(1, NEW, available=False))
    screen = StringIO()
    Console(file=screen, width=100).print(picture(scene))
    for word in ("progressing", "0/2 instances", "host-a", "● 1.0.0", "◌ 1.1.0 out", "12 s"):
        assert word in screen.getvalue()
    assert len(screen.getvalue().splitlines()) == 4


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.SUCCEEDED, ExitCode.SUCCEEDED),
        (State.ROLLED_BACK, ExitCode.ROLLED_BACK),
        (State.FAILED, ExitCode.FAILED),
        (State.ABORTED, ExitCode.FAILED),
        (State.SUPERSEDED, ExitCode.FAILED),
    ],
)
def test_each_end_has_its_exit_code(state: State, code: ExitCode) -> None:
    assert state in TERMINAL
    assert exit_code(state) is code


def test_tables_line_up() -> None:
    assert table(("A", "LONG"), [("xyz", None), ("", 1)]) == ["A    LONG", "xyz  -", "-    1"]


def test_words_that_do_not_fit_a_terminal_get_a_line_of_their_own() -> None:
    rows = [("r-1", "alice: a long reason"), ("r-2", None)]
    assert table(("ROLLOUT", "WHY"), rows, 20) == [
        "ROLLOUT",
        "r-1",
        "    alice: a long reason",
        "r-2",
    ]
    assert table(("ROLLOUT", "WHY"), rows, 80)[1] == "r-1      alice: a long reason"
