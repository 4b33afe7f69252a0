"""A PostgreSQL that says less than others know, and what is gone on with when that is accepted."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.model import Environment, Policy
from controlplane.domain.records import HostRow, Snapshot
from controlplane.domain.reports import HostReport, Phase, SlotReport
from controlplane.domain.routing import EdgeReading, Member, Published, Table
from controlplane.domain.truth import adopted, beyond, latest, took_back
from tests.build import NEW, OLD

PLACE = Environment("test", ("host-a", "host-b"), (), Policy())
MEMBERS = frozenset({Member("host-a", 1, "host-a:1"), Member("host-b", 1, "host-b:1")})


def slot(phase: Phase = Phase.HEALTHY, of: SlotGoal | None = None) -> SlotReport:
    return SlotReport(1, (of.release if of else OLD).spec, phase, "host-a:1")


def row(host: str = "host-a", seen_at: float = 100.0, **said: object) -> HostRow:
    report = HostReport(host, 3, 7)
    return HostRow(host, 7, (), replace(report, **said), 1, seen_at)  # type: ignore[arg-type]  # any field


def seen(*rows: HostRow, goal: Goal = Goal.RUN, wants: SlotGoal | None = None) -> Snapshot:
    goals = tuple(SlotGoal(h, 1, OLD, goal, 0.0, True) for h in ("host-a", "host-b"))
    goals = (wants, *goals[1:]) if wants else goals
    table = Table(4, MEMBERS)
    return Snapshot(100.0, PLACE, None, goals, rows, table, (), frozenset())


def test_nobody_is_ahead_of_a_truth_that_forgot_nothing() -> None:
    assert took_back(seen(row()), 3, Published(3, 4)) == ""
    assert took_back(seen(row()), 3, None) == ""


def test_whoever_is_ahead_is_named() -> None:
    assert "Redis knows epoch 4" in took_back(seen(row()), 3, Published(4, 4))
    assert "routing table 5" in took_back(seen(row()), 3, Published(3, 5))
    assert "the agent of host-a knows epoch 9" in took_back(seen(row(epoch=9)), 3, None)
    assert "version 8 of its goals" in took_back(seen(row(desired_version=8)), 3, None)


def test_edges_remember_when_redis_was_emptied() -> None:
    assert latest((EdgeReading("a", 5), EdgeReading("b", None), EdgeReading("c", 7))) == Published(
        0, 7
    )
    assert latest((EdgeReading("b", None),)) is None


def test_acceptance_leaps_above_what_nobody_could_be_asked_about() -> None:
    now = beyond(3, 4)
    assert now.epoch > 1_000
    assert now.revision > 1_000


def test_what_runs_becomes_the_goal_whatever_was_wanted() -> None:
    said = SlotReport(1, NEW.spec, Phase.HEALTHY, "host-a:9")
    goals, table = adopted(seen(row(slots=(said,))), {NEW.digest: NEW})
    assert goals[-1].release == NEW
    assert Member("host-a", 1, "host-a:9") in table.members
    assert Member("host-a", 1, "host-a:1") not in table.members


def test_member_that_is_unready_at_that_moment_stays_one() -> None:
    goals, table = adopted(seen(row(slots=(slot(Phase.UNREADY),))), {OLD.digest: OLD})
    assert table.members == MEMBERS
    assert all(g.admitted_once for g in goals)


def test_what_was_on_its_way_out_goes_on_leaving() -> None:
    goals, _ = adopted(seen(row(slots=(slot(Phase.UNREADY),)), goal=Goal.DRAIN), {})
    assert goals[-1].goal is Goal.DRAIN


def test_host_that_is_not_heard_of_keeps_what_postgresql_says() -> None:
    goals, table = adopted(seen(row(seen_at=0.0)), {})
    assert {g.host for g in goals} == {"host-a", "host-b"}
    assert table.members == MEMBERS


def test_agent_that_has_seen_nothing_yet_does_not_say_that_nothing_runs() -> None:
    goals, table = adopted(seen(row(slots=(), desired_version=-1)), {})
    assert {g.host for g in goals} == {"host-a", "host-b"}
    assert table.members == MEMBERS
