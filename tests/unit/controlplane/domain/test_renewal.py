"""Changed variables and restarts: the same release, started anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain import gates
from controlplane.domain.environs import prints, whole
from controlplane.domain.fleet import Instance
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.look import look
from controlplane.domain.model import Environment, Kind, Policy, Rollout, State
from controlplane.domain.records import HostRow, Snapshot
from controlplane.domain.reports import HostReport, Phase, SlotReport
from controlplane.domain.routing import EdgeReading, Member, Table
from controlplane.domain.strategies.rolling import converge, converged
from tests.build import OLD, rollout

POLICY = Policy(instances_per_host=1)
BEFORE, NOW = prints("key", {"SECRET": "a"}), prints("key", {"SECRET": "b"})
SAME = replace(rollout(), target=OLD)


def snapshot(active: Rollout | None, started_by: str = "r0", environ: str = "") -> Snapshot:
    goal = SlotGoal("host-a", 1, OLD, Goal.RUN, 1.0, admitted_once=True, rollout=started_by)
    slot = SlotReport(1, OLD.spec, Phase.HEALTHY, "host-a:1", environ=environ)
    report = HostReport("host-a", 1, 3, (slot,), environ=NOW)
    row = HostRow("host-a", 3, (OLD,), report, 1, 10.0)
    table = Table(2, frozenset({Member("host-a", 1, "host-a:1")}))
    environment = Environment("test", ("host-a",), ("http://e",), POLICY)
    return Snapshot(10.0, environment, active, (goal,), (row,), table, (), frozenset())


def only(seen: Snapshot) -> Instance:
    (one,) = look(seen, ()).instances
    return one


def test_restart_wants_anew_what_it_did_not_start_itself() -> None:
    restart = replace(SAME, restart=True)
    assert only(snapshot(restart)).outdated
    assert not only(snapshot(restart, started_by=restart.id)).outdated


def test_other_rollouts_leave_alone_what_runs_their_release() -> None:
    assert not only(snapshot(SAME, environ=whole(NOW))).outdated
    assert not only(snapshot(SAME)).outdated


def test_rollout_wants_anew_what_was_started_with_other_variables() -> None:
    assert only(snapshot(SAME, environ=whole(BEFORE))).outdated
    assert not only(snapshot(None, environ=whole(BEFORE))).outdated


@pytest.mark.parametrize("change", [{"state": State.ROLLING_BACK}, {"kind": Kind.ROLLBACK}])
def test_way_back_takes_what_runs_with_whatever_variables(change: dict[str, object]) -> None:
    back = replace(SAME, restart=True, **change)  # type: ignore[arg-type]  # either field
    assert not only(snapshot(back, environ=whole(BEFORE))).outdated


def test_outdated_instance_keeps_the_release_from_being_held_and_is_replaced() -> None:
    edges = (EdgeReading("http://e", 2, servers=frozenset({"host-a:1"})),)
    assert converged(OLD, look(snapshot(SAME, environ=whole(NOW)), edges), POLICY)
    fleet = look(snapshot(SAME, environ=whole(BEFORE)), edges)
    fleet = replace(
        fleet, hosts=tuple(replace(h, images=frozenset({OLD.digest})) for h in fleet.hosts)
    )
    assert not converged(OLD, fleet, POLICY)
    (start,) = converge(OLD, fleet, POLICY)
    assert (start.host, start.slot) == ("host-a", 2)  # type: ignore[union-attr]  # a StartInstance


def test_failed_instance_that_a_restart_shall_replace_says_nothing_against_the_release() -> None:
    restart = replace(SAME, restart=True)
    seen = look(snapshot(restart), ())
    failed = replace(seen.instances[0], phase=Phase.FAILED)
    assert gates.readiness(restart, replace(seen, instances=(failed,)), 20.0) is None
    own = replace(failed, outdated=False)
    assert gates.readiness(restart, replace(seen, instances=(own,)), 20.0) is not None
