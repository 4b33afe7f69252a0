"""What an environment's status calls drift."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain.drift import drift
from controlplane.domain.fleet import Fleet, Host, Instance
from controlplane.domain.goals import Goal
from controlplane.domain.model import Environment, Policy
from controlplane.domain.reports import Phase
from controlplane.domain.routing import Member, Table
from tests.ledgers import a_release

OLD, NEW = a_release("1.0.0"), a_release("1.1.0")
PLACE = Environment(
    "local", ("host-a",), ("http://e",), Policy(instances_per_host=2), current=NEW, previous=OLD
)


def an_instance(slot: int, **changes: object) -> Instance:
    base = Instance(
        host="host-a",
        slot=slot,
        spec=NEW.spec,
        goal=Goal.RUN,
        since=0.0,
        phase=Phase.HEALTHY,
        address=f"10.0.0.1:{slot}",
        drained=False,
        admitted_once=True,
        member=Member("host-a", slot, f"10.0.0.1:{slot}"),
        silent=False,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # any field may be given


def a_fleet(*instances: Instance, silent: bool = False) -> Fleet:
    host = Host("host-a", silent_s=0.0, silent=silent, settled=True)
    return Fleet(hosts=(host,), instances=instances, table=Table())


def test_a_fleet_that_is_as_it_should_be_has_no_drift() -> None:
    assert drift(PLACE, a_fleet(an_instance(1), an_instance(2))) == ()


def test_nothing_can_differ_before_a_release_held() -> None:
    assert drift(replace(PLACE, current=None), a_fleet()) == ()


def test_another_release_on_a_slot_is_drift() -> None:
    fleet = a_fleet(an_instance(1), an_instance(2, spec=OLD.spec))
    assert drift(PLACE, fleet) == ("host-a/2 runs 1.0.0, not 1.1.0",)


def test_too_few_instances_are_drift() -> None:
    assert drift(PLACE, a_fleet(an_instance(1))) == ("host-a has 1 of 2 instances",)


def test_an_instance_nobody_wants_is_drift() -> None:
    fleet = a_fleet(an_instance(1), an_instance(2), an_instance(3, goal=None))
    assert drift(PLACE, fleet) == ("host-a/3 runs 1.1.0 without a goal",)


def test_an_instance_that_does_not_serve_says_why() -> None:
    bad = an_instance(2, phase=Phase.UNREADY, member=None, detail="database unavailable")
    found = drift(PLACE, a_fleet(an_instance(1), bad))
    assert found == ("host-a/2 is unready and not available: database unavailable",)


def test_a_silent_host_is_said_once_and_not_again_for_each_instance() -> None:
    quiet = [an_instance(n, silent=True) for n in (1, 2)]
    assert drift(PLACE, a_fleet(*quiet, silent=True)) == ("host-a is silent",)
