"""Whose host it is, when two agents were started under one name."""

from __future__ import annotations

from controlplane.domain.claims import claim, claimed_too
from controlplane.domain.records import HostRow, Rival

SILENCE_S = 15.0
NOBODYS = HostRow("host-a", 0, (), None, 0, 0.0)


def row(seen_at: float, rival: Rival | None = None) -> HostRow:
    return HostRow("host-a", 0, (), None, 0, seen_at, holder="first", rival=rival)


def test_host_belongs_to_the_first_agent_that_asks() -> None:
    assert claim(NOBODYS, "first", SILENCE_S, 5.0) == ("first", None)


def test_holder_keeps_its_host_however_long_it_was_away() -> None:
    assert claim(row(0.0), "first", SILENCE_S, 9_000.0)[0] == "first"


def test_second_agent_is_refused_and_remembered() -> None:
    assert claim(row(99.0), "second", SILENCE_S, 100.0) == ("first", Rival("second", 100.0, 100.0))


def test_silent_host_passes_to_who_asked_all_that_time() -> None:
    asking = Rival("second", 100.0, 115.0)
    assert claim(row(100.5, asking), "second", SILENCE_S, 115.4)[0] == "first"
    assert claim(row(100.0, asking), "second", SILENCE_S, 115.4) == ("second", None)


def test_outage_of_the_database_passes_no_host_on() -> None:
    before = Rival("second", 10.0, 100.0)
    holder, rival = claim(row(100.0, before), "second", SILENCE_S, 130.0)
    assert (holder, rival) == ("first", Rival("second", 130.0, 130.0))


def test_third_agent_does_not_take_the_seconds_turn() -> None:
    second = Rival("second", 100.0, 104.0)
    assert claim(row(90.0, second), "third", SILENCE_S, 105.0) == ("first", second)


def test_second_agent_is_told_of_only_while_it_asks() -> None:
    asked = row(100.0, Rival("second", 90.0, 100.0))
    assert claimed_too(asked, 101.0) == "second"
    assert claimed_too(asked, 200.0) == ""
    assert claimed_too(row(100.0), 101.0) == ""
