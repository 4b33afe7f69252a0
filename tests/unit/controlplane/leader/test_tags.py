"""Which tags a rule means, and the order of what they stand for."""

from __future__ import annotations

import pytest

from controlplane.domain.errors import Invalid
from controlplane.domain.image import MOVING
from controlplane.leader.tags import MOST, meant, rank, same
from tests.follows import a_rule


def test_range_takes_versions_highest_first_and_leaves_the_rest() -> None:
    tags = ("0.9.0", "1.2.0", "1.10.0", "v1.3.0", "2.0.0", "main", "1.4.0-alpine", "2.0.0rc1")
    assert list(meant(a_rule(), tags)) == ["1.10.0", "v1.3.0", "1.2.0"]


def test_early_versions_are_meant_only_when_the_range_names_one() -> None:
    assert list(meant(a_rule(), ("1.1.0rc1",))) == []
    assert list(meant(a_rule(versions=">=1.1.0rc1"), ("1.1.0-rc.2",))) == ["1.1.0-rc.2"]


def test_pattern_must_fit_the_whole_tag() -> None:
    rule = a_rule(versions="", tags=r"main-\d+")
    assert list(meant(rule, ("main-7", "main-7-arm", "xmain-7"))) == ["main-7"]


def test_pattern_may_say_which_part_is_the_version() -> None:
    rule = a_rule(versions="", tags=r"release-(?P<version>[\d.]+)")
    found = meant(rule, ("release-1.9", "release-1.10"))
    assert list(found.items()) == [("release-1.10", "1.10"), ("release-1.9", "1.9")]


def test_moving_tag_is_no_version_whatever_the_pattern_says() -> None:
    assert meant(a_rule(versions="", tags=".*"), (MOVING, "1.0.0")) == {"1.0.0": "1.0.0"}


def test_careless_pattern_is_given_up_with_a_sentence() -> None:
    rule = a_rule(versions="", tags=r"(1|11|111)+\.2?")
    with pytest.raises(Invalid, match="repeats inside repeats"):
        meant(rule, ("1" * 90 + "-.",))


def test_only_the_highest_of_a_large_repository_are_looked_at() -> None:
    found = list(meant(a_rule(), (f"1.{n}.0" for n in range(5 * MOST))))
    assert (len(found), found[0]) == (MOST, f"1.{5 * MOST - 1}.0")


@pytest.mark.parametrize(
    ("label", "version", "answer"),
    [
        ("1.4.0", "v1.4.0", True),
        ("1.4.0rc1", "1.4.0-rc.1", True),
        ("1.4.0", "1.4", False),
        ("1.4.1", "1.4.0", False),
        ("main-7", "main-7", True),
        ("1.0.0", "main-7", False),
    ],
)
def test_label_and_tag_must_say_the_same_version(label: str, version: str, answer: bool) -> None:
    assert same(label, version) is answer


def test_what_is_no_version_has_no_place_in_their_order() -> None:
    assert rank("main-7") is None
