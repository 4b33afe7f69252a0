"""The look: goals, reports and edge readings side by side, none of them believed too far."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.look import CLOCK_SLACK_S, SILENT_AFTER_S, look
from controlplane.domain.model import EdgesRequired, Environment, Policy
from controlplane.domain.records import HostRow, Snapshot
from controlplane.domain.reports import HostReport, ImageReport, Phase, SlotReport, Unread
from controlplane.domain.routing import EdgeReading, Member, Table
from tests.build import NEW, OLD

GOAL = SlotGoal("host-a", 1, OLD, Goal.RUN, 5.0, admitted_once=True)
REPORT = SlotReport(1, OLD.spec, Phase.HEALTHY, "host-a:1")


def snapshot(
    *goals: SlotGoal, slots: tuple[SlotReport, ...] = (REPORT,), seen_at: float = 10.0
) -> Snapshot:
    report = HostReport("host-a", 1, 3, slots, (ImageReport(OLD.digest, True),))
    row = HostRow("host-a", 3, (OLD,), report, 1, seen_at)
    table = Table(2, frozenset({Member("host-a", 1, "host-a:1")}))
    environment = Environment("test", ("host-a",), ("http://e",), Policy())
    return Snapshot(10.0, environment, None, goals, (row,), table, (), frozenset())


def test_instance_is_available_when_admitted_ready_and_heard() -> None:
    (one,) = look(snapshot(GOAL), ()).instances
    assert one.available
    assert one.since == 5.0


def test_host_is_silent_only_after_some_missed_reports() -> None:
    at_limit = look(snapshot(GOAL, seen_at=10.0 - SILENT_AFTER_S), ())
    assert not at_limit.hosts[0].silent
    after = look(snapshot(GOAL, seen_at=9.9 - SILENT_AFTER_S), ())
    assert after.hosts[0].silent
    assert not after.instances[0].available


def test_report_about_another_spec_says_nothing_about_the_goal() -> None:
    (one,) = look(snapshot(replace(GOAL, release=NEW)), ()).instances
    assert one.spec == NEW.spec
    assert one.phase is None
    assert not one.available


def test_what_runs_without_a_goal_is_seen_and_taken_for_admitted() -> None:
    (stray,) = look(snapshot(), ()).instances
    assert (stray.goal, stray.spec, stray.admitted_once) == (None, OLD.spec, True)


def test_goal_that_nobody_reported_on_has_no_phase() -> None:
    (one,) = look(snapshot(GOAL, slots=()), ()).instances
    assert one.phase is None


def test_address_in_the_table_counts_only_while_the_instance_listens_there() -> None:
    (one,) = look(snapshot(GOAL, slots=(replace(REPORT, address="host-a:9"),)), ()).instances
    assert not one.available


def test_host_is_settled_when_its_report_is_about_its_latest_goals() -> None:
    seen = snapshot(GOAL)
    assert look(seen, ()).hosts[0].settled
    row = replace(seen.hosts[0], desired_version=4)
    assert not look(replace(seen, hosts=(row,)), ()).hosts[0].settled


def test_host_that_never_reported_is_silent_and_holds_nothing() -> None:
    never = HostRow("host-a", 0, (), None, 0, 0.0)
    (host,) = look(replace(snapshot(GOAL), hosts=(never,)), ()).hosts
    assert (host.silent, host.settled, host.images) == (True, False, frozenset())


SERVED = frozenset({"host-a:1"})
RIGHT = EdgeReading("http://e", 2, servers=SERVED)
MUTE = EdgeReading("http://g", None, "no answer", unconfirmed_s=99.0)


def with_policy(**policy: Any) -> Snapshot:
    seen = snapshot(GOAL)
    return replace(seen, environment=replace(seen.environment, policy=Policy(**policy)))


def test_edge_without_the_intended_revision_is_unconfirmed() -> None:
    behind = EdgeReading("http://f", 1, servers=SERVED)
    mute = EdgeReading("http://g", None, "no answer")
    assert look(snapshot(), (RIGHT,)).confirmed
    assert look(snapshot(), (RIGHT, behind, mute)).unconfirmed == (behind, mute)


def test_edge_with_other_servers_than_the_table_is_unconfirmed() -> None:
    fewer, more = (replace(RIGHT, servers=s) for s in (frozenset[str](), SERVED | {"host-x:1"}))
    assert not look(snapshot(), (fewer,)).confirmed
    assert not look(snapshot(), (more,)).confirmed


def test_instance_that_an_edge_cannot_reach_is_not_available() -> None:
    (one,) = look(snapshot(GOAL), (replace(RIGHT, down=SERVED),)).instances
    assert (one.unreached_by, one.available) == (("http://e",), False)


def test_instance_that_an_edge_has_not_checked_yet_is_available_and_untried() -> None:
    (one,) = look(snapshot(GOAL), (replace(RIGHT, untried=SERVED),)).instances
    assert (one.untried, one.available) == (True, True)


def test_lost_edge_is_waited_for_when_all_are_required() -> None:
    fleet = look(with_policy(), (RIGHT, MUTE))
    assert (fleet.unconfirmed, fleet.lost, fleet.held_by_edge) == ((MUTE,), (MUTE,), True)


def test_lost_edge_is_done_without_when_any_is_enough() -> None:
    fleet = look(with_policy(edges_required=EdgesRequired.ANY), (RIGHT, MUTE))
    assert (fleet.confirmed, fleet.lost) == (True, (MUTE,))


def test_edge_that_only_lags_is_waited_for_in_any_case() -> None:
    lagging = replace(MUTE, unconfirmed_s=15.0)
    assert not look(with_policy(edges_required=EdgesRequired.ANY), (RIGHT, lagging)).confirmed


def test_at_least_one_edge_must_confirm() -> None:
    fleet = look(with_policy(edges_required=EdgesRequired.ANY), (MUTE,))
    assert (fleet.confirmed, fleet.unconfirmed) == (False, (MUTE,))


def test_edge_that_was_lost_stays_so_under_a_new_leader_until_it_confirms() -> None:
    seen = replace(with_policy(edges_required=EdgesRequired.ANY), lost_edges=frozenset({MUTE.edge}))
    new = replace(MUTE, unconfirmed_s=0.0)
    assert look(seen, (RIGHT, new)).lost == (new,)
    assert look(seen, (RIGHT, replace(RIGHT, edge=MUTE.edge))).lost == ()


def test_word_of_an_edge_that_is_done_without_counts_for_nothing() -> None:
    stuck = EdgeReading("http://g", 1, servers=SERVED, down=SERVED, unconfirmed_s=99.0)
    (one,) = look(with_policy(edges_required=EdgesRequired.ANY), (RIGHT, stuck)).instances
    assert one.available


def test_host_that_cannot_see_its_instances_is_silent_and_says_why() -> None:
    seen = snapshot(GOAL)
    row = seen.hosts[0]
    assert row.report is not None
    blind = replace(row, report=replace(row.report, runtime_error="gone", blind_s=20.0))
    fleet = look(replace(seen, hosts=(blind,)), ())
    (host,), (one,) = fleet.hosts, fleet.instances
    assert (host.silent, host.silent_s, host.runtime_error) == (True, 20.0, "gone")
    assert (one.available, one.phase) == (False, Phase.HEALTHY)


def test_error_of_an_agent_that_fell_silent_is_old_news() -> None:
    seen = snapshot(GOAL, seen_at=0.0)
    row = seen.hosts[0]
    assert row.report is not None
    blind = replace(row, report=replace(row.report, runtime_error="gone"))
    (host,) = look(replace(seen, hosts=(blind,)), ()).hosts
    assert (host.silent, host.runtime_error) == (True, "")


def test_host_whose_report_cannot_be_read_is_silent_and_says_why() -> None:
    seen = snapshot(GOAL)
    unread = Unread(2, "9.0.0", "Invalid enum value 'warming'")
    row = replace(seen.hosts[0], report=None, unread=unread)

    fleet = look(replace(seen, hosts=(row,)), ())

    (host,), (instance,) = fleet.hosts, fleet.instances
    assert (host.silent, host.settled, host.protocol) == (True, False, 2)
    assert (host.agent_version, host.unread) == ("9.0.0", unread.problem)
    assert (instance.silent, instance.available, instance.phase) == (True, False, None)


def test_host_seen_at_a_moment_to_come_is_silent() -> None:
    """The database's clock went back by a minute: a dead host would be alive for that long."""
    ahead = look(snapshot(GOAL, seen_at=70.0), ())
    assert ahead.hosts[0].silent
    assert not ahead.instances[0].available
    assert not look(snapshot(GOAL, seen_at=10.0 + CLOCK_SLACK_S), ()).hosts[0].silent
