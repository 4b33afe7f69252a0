"""What follows from a look at a repository."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.follow import StartMode, TagSeen
from controlplane.domain.sightings import FollowLook, Record, Sighting, choose, record
from controlplane.leader.tags import rank
from tests.follows import a_look, a_rule, a_tag, digest, published, sighted

OLD = a_tag("1.0.0", "1")


def found(seen: FollowLook, *sightings: Sighting) -> Record:
    listed = [t.tag for t in seen.followed.tags] + [s.tag for s in sightings]
    return record(seen, listed, sightings, rank)


def again(seen: FollowLook, before: Record) -> FollowLook:
    """The look after this one."""
    known = {r.version: r.digest for r in before.releases}
    return a_look(*before.followed.tags, known={**seen.known, **known})


def kinds(outcome: Record) -> list[str]:
    return [kind for kind, _ in outcome.events]


def test_new_image_becomes_a_release_and_is_told_once() -> None:
    first = found(a_look(OLD), sighted("1.1.0", "a"))
    assert first.releases == (published("1.1.0", "a"),)
    assert kinds(first) == ["release"]
    second = found(again(a_look(OLD), first), Sighting("1.1.0", digest("a")))
    assert (second.releases, second.events) == ((), ())


def test_moved_tag_is_told_once_for_each_digest_and_never_followed() -> None:
    seen = a_look(a_tag("1.1.0", "a"))
    moved = found(seen, Sighting("1.1.0", digest("b")))
    assert kinds(moved) == ["tag_moved"]
    assert digest("b") in moved.events[0][1]
    assert moved.releases == ()
    (tag,) = moved.followed.tags
    assert (tag.digest, tag.stays) == (digest("a"), False)
    for fill, told in (("b", []), ("a", []), ("b", []), ("c", ["tag_moved"])):
        moved = found(again(seen, moved), Sighting("1.1.0", digest(fill)))
        assert kinds(moved) == told


def test_known_release_of_other_bytes_counts_as_moved_at_first_sight() -> None:
    seen = a_look(known={"1.1.0": digest("a")})
    outcome = found(seen, sighted("1.1.0", "b"))
    assert kinds(outcome) == ["tag_moved"]
    assert outcome.releases == ()


def test_release_that_an_operator_added_is_adopted_without_a_word() -> None:
    outcome = found(a_look(known={"1.1.0": digest("a")}), sighted("1.1.0", "a"))
    assert (outcome.releases, outcome.events) == ((), ())
    assert outcome.followed.tags[0].stays


def test_skipped_image_is_told_once_and_judged_anew_when_it_changes() -> None:
    bad = Sighting("1.1.0", digest("a"), problem="it has no labels")
    first = found(a_look(), bad)
    assert kinds(first) == ["tag_skipped"]
    seen = again(a_look(), first)
    assert found(seen, bad).events == ()
    assert found(seen, sighted("1.1.0", "b")).releases == (published("1.1.0", "b"),)


def test_same_bytes_under_another_version_are_skipped() -> None:
    outcome = found(a_look(known={"1.0.0": digest("a")}), sighted("1.1.0", "a"))
    assert kinds(outcome) == ["tag_skipped"]
    assert "known as release 1.0.0" in outcome.events[0][1]


def test_two_tags_of_one_image_are_one_release() -> None:
    twin = Sighting("v1.1.0", digest("a"), published("1.1.0", "a"))
    outcome = found(a_look(), sighted("1.1.0", "a"), twin)
    assert outcome.releases == (published("1.1.0", "a"),)


def test_version_that_cannot_be_one_is_skipped() -> None:
    outcome = found(a_look(), sighted("-1", "a"))
    assert kinds(outcome) == ["tag_skipped"]


def test_tag_that_is_gone_is_forgotten_but_not_by_a_look_that_broke_off() -> None:
    seen = a_look(OLD)
    assert record(seen, (), (), rank).followed.tags == ()
    broken = record(seen, (), (), rank, error="down", complete=False)
    assert (broken.followed.tags, broken.followed.error) == ((OLD,), "down")


def test_version_without_an_order_is_told_to_be_started_by_hand() -> None:
    outcome = found(a_look(), sighted("nightly", "a"))
    assert "start it by hand" in outcome.events[0][1]


def chosen(*tags: TagSeen, **changes: object) -> str | None:
    best = choose(a_look(OLD, *tags, **changes), (OLD, *tags), rank)
    return None if best is None else best.version


def test_highest_version_is_chosen_by_number_and_not_by_letter() -> None:
    assert chosen(a_tag("1.9.0", "b"), a_tag("1.10.0", "c"), a_tag("1.2.0", "d")) == "1.10.0"


def test_nothing_new_starts_nothing() -> None:
    assert chosen() is None


def test_older_version_is_never_chosen() -> None:
    assert chosen(a_tag("0.9.0", "b")) is None


def test_first_release_of_an_empty_environment_is_chosen() -> None:
    assert chosen(current=None, tried=frozenset()) == "1.0.0"


@pytest.mark.parametrize("tried", ["1.1.0", "1.2.0"])
def test_what_was_tried_before_is_not_chosen_again_nor_what_is_lower(tried: str) -> None:
    assert chosen(a_tag("1.1.0", "b"), tried=frozenset({"1.0.0", tried})) is None


def test_active_rollout_is_waited_for() -> None:
    assert chosen(a_tag("1.1.0", "b"), active="r-1") is None


def test_moved_tag_is_passed_over_for_the_next_lower_one() -> None:
    moved = a_tag("1.2.0", "c", points_to=digest("d"))
    assert chosen(moved, a_tag("1.1.0", "b")) == "1.1.0"


def test_skipped_tag_is_not_chosen() -> None:
    assert chosen(replace(a_tag("1.1.0", "b"), version="", problem="no labels")) is None


def test_rule_that_never_starts_chooses_nothing() -> None:
    assert chosen(a_tag("1.1.0", "b"), rule=a_rule(start=StartMode.NEVER)) is None


def test_nothing_is_above_what_has_no_order() -> None:
    assert chosen(a_tag("1.1.0", "b"), current="nightly") is None
