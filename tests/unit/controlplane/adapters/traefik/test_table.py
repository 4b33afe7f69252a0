"""Tables as Traefik's keys, and what Traefik's API says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.traefik.routing import Checks, NotServing, served_revision
from controlplane.adapters.traefik.table import Names, checked_s, interval_s, render, rule
from controlplane.domain.route import Route
from controlplane.domain.routing import Member, Table

GOLDEN = Path(__file__).parent / "golden"
A0 = Member("host-a", 0, "10.0.0.1:18001")
A1 = Member("host-a", 1, "10.0.0.1:18002")
B0 = Member("host-b", 0, "10.0.0.2:18001")


def lines(table: Table, environment: str, route: Route) -> str:
    rendered = render(table, Names(environment), route)
    return "".join(f"{key} = {value}\n" for key, value in rendered.items())


def test_table_of_three_is_rendered_as_in_the_golden_file() -> None:
    rendered = lines(Table(42, frozenset({B0, A1, A0})), "local", Route())
    assert rendered == (GOLDEN / "three_members.txt").read_text()


def test_empty_table_still_has_a_router_and_a_revision() -> None:
    route = Route(root="edge", entry_point="websecure", host="camp.test")
    rendered = lines(Table(7), "staging", route)
    assert rendered == (GOLDEN / "empty.txt").read_text()


def test_only_values_change_while_the_number_of_servers_does_not() -> None:
    before = render(Table(1, frozenset({A0, A1})), Names("local"), Route())
    after = render(Table(2, frozenset({A0, B0})), Names("local"), Route())
    assert list(before) == list(after)
    assert sum(before[key] != after[key] for key in before) == 2


def test_path_is_a_whole_segment_and_is_taken_off() -> None:
    route = Route(host="camp.test", path="/staging")
    assert rule(route) == "Host(`camp.test`) && (Path(`/staging`) || PathPrefix(`/staging/`))"
    rendered = render(Table(1), Names("staging"), route)
    prefix = "traefik/http/middlewares/camp-staging-path/stripprefix/prefixes/0"
    assert rendered[prefix] == "/staging"
    assert rendered["traefik/http/routers/camp-staging/middlewares/2"] == "camp-staging-path"


def test_servers_are_tried_when_a_configuration_has_stood_for_a_check() -> None:
    one, both = frozenset({"a:1"}), frozenset({"a:1", "b:1"})
    checks, none = Checks(), frozenset[str]()
    checks.note(1, one, none, 10.0)
    assert (checks.tried, checks.down) == (none, none)
    checks.note(1, one, none, 10.0 + checked_s(1))
    assert checks.tried == one
    checks.note(2, both, none, 20.0)
    assert checks.tried == one
    checks.note(2, both, frozenset({"b:1"}), 20.6)
    assert (checks.tried, checks.down) == (one, frozenset({"b:1"}))


def test_new_configuration_makes_no_dead_server_alive() -> None:
    one, none = frozenset({"a:1"}), frozenset[str]()
    checks = Checks()
    checks.note(1, one, one, 10.0)
    checks.note(2, one, none, 10.1)
    assert checks.down == one
    checks.note(2, one, none, 10.1 + checked_s(1))
    assert (checks.down, checks.tried) == (none, one)
    checks.note(3, none, none, 20.0)
    assert checks.tried == none


def test_large_fleets_are_checked_less_often() -> None:
    assert [interval_s(n) for n in (0, 100, 200, 400, 10_000)] == [0.5, 0.5, 1.0, 2.0, 2.0]


def router(**changes: object) -> dict[str, object]:
    return {"status": "enabled", **changes}


TABLE = {"headers": {"customRequestHeaders": {"X-Camp-Table": "42"}}}


def test_served_revision_is_the_one_that_the_middleware_carries() -> None:
    assert served_revision(router(), TABLE) == 42


def test_refused_router_does_not_count_as_serving() -> None:
    with pytest.raises(NotServing, match="parsing rule"):
        served_revision(router(status="disabled", error=["parsing rule X"]), TABLE)
