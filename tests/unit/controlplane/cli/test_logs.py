"""What is new in a log of which only the end is ever seen."""

from __future__ import annotations

import pytest

from controlplane.cli.logs import WINDOW, fresh


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ("abc", "abc", ""),
        ("abc", "abcd", "d"),
        ("abc", "bcde", "de"),
        ("aab", "abab", "ab"),
        ("aaa", "aaaa", "a"),
        ("abc", "c", ""),
        ("", "ab", "ab"),
    ],
)
def test_only_what_came_after_is_new(before: str, now: str, new: str) -> None:
    assert fresh(before, now) == (new, True)


def test_a_log_that_began_anew_is_new_from_its_start() -> None:
    assert fresh("abc", "xy") == ("xy", True)


def test_a_log_that_ran_away_is_said_to_miss_lines() -> None:
    now = "x" * WINDOW
    assert fresh("abc", now) == (now, False)
