"""The rule by which an environment follows a repository."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from controlplane.domain.errors import Invalid
from controlplane.domain.follow import (
    FIELDS,
    RANGE,
    Follow,
    Followed,
    StartMode,
    carried,
    follow_of,
)
from controlplane.domain.policy import draft
from tests.follows import IMAGE, a_rule, a_tag

PLACE = {"hosts": ["host-a"], "edges": ["http://127.0.0.1:8080"]}
GOOD = {"image": IMAGE, "versions": ">=1.2,<2"}
WHATEVER = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


def asked(**table: Any) -> Follow | None:
    return draft("local", PLACE | {"follow": table}).follow


def test_a_rule_says_what_is_followed_and_the_rest_has_defaults() -> None:
    assert asked(**GOOD) == Follow(image=IMAGE, versions=">=1.2,<2", start=StartMode.APPROVAL)
    rule = asked(image=IMAGE, tags=r"main-\d+", start="now", interval_s=5, insecure=True)
    assert rule is not None
    assert (rule.start, rule.interval_s, rule.insecure) == (StartMode.NOW, 5.0, True)


def test_without_a_rule_nothing_is_followed() -> None:
    assert draft("local", PLACE).follow is None


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("image", f"{IMAGE}:1.0.0", "without a tag"),
        ("image", "camp", "HOST/NAME"),
        ("image", 7, "HOST/NAME"),
        ("versions", "latest", ">=1.2,<2"),
        ("versions", ">=1.2,", ">=1.2,<2"),
        ("versions", "", ">=1.2,<2"),
        ("tags", "(", "no regular expression"),
        ("tags", "", "200 characters"),
        ("tags", "a" * 201, "200 characters"),
        ("start", "later", "never or approval or now"),
        ("interval_s", 4, "at least 5"),
        ("interval_s", True, "seconds as a number"),
        ("insecure", "yes", "true or false"),
        ("platform", "amd64", "linux/arm64"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(field: str, value: object, remedy: str) -> None:
    with pytest.raises(Invalid) as caught:
        asked(**(GOOD | {field: value}))
    assert f"follow.{field}" in caught.value.sentence
    assert remedy in caught.value.sentence


@pytest.mark.parametrize("both", [{}, {"versions": ">=1", "tags": "x"}])
def test_exactly_one_of_range_and_pattern_is_given(both: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="give one of them"):
        asked(image=IMAGE, **both)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        draft("local", {"hosts": [], "edges": [], "follow": {"start": "x", "intervall_s": 5}})
    for part in (
        "hosts:",
        "follow.start",
        "follow.image",
        "follow.versions",
        "did you mean interval_s",
    ):
        assert part in caught.value.sentence


@given(st.from_regex(RANGE, fullmatch=True))
def test_every_range_that_is_accepted_is_understood(text: str) -> None:
    assert SpecifierSet(text)


@given(st.dictionaries(st.sampled_from(FIELDS), WHATEVER, max_size=4))
def test_no_table_raises_anything(table: dict[str, object]) -> None:
    follow_of(table, [])
    with suppress(Invalid):
        asked(**table)


def test_what_was_seen_stays_true_of_the_same_images_only() -> None:
    known = Followed(looked_at=50.0, error="down", tags=(a_tag("1.1.0"),))
    kept = carried(a_rule(), known, a_rule(start=StartMode.NOW))
    assert kept == Followed(tags=known.tags)
    assert carried(a_rule(), known, a_rule(image="registry.example/other")) == Followed()
