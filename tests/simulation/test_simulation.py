"""Whole fleets on virtual time: no seed breaks a safety property, and each planted bug does."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.episode import play
from tests.simulation.run import play_chunk, seeds

SEEDS = 2_000
# Small enough for the time limit of one test on a busy machine, and both workers get their half.
CHUNK = 50
# Where each bug is looked for; most are found within a few dozen seeds.
BUG_SEEDS = 2_000


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """Not measured: it would take five times as long, and other tests cover all of it.

    pytest-cov's mark `no_cover` stops only one of the two measurements that a worker has.
    """
    tracing = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracing)


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_no_seed_violates_a_safety_property(first: int) -> None:
    states, violations = play_chunk(range(first, first + CHUNK), None)
    assert violations == []
    assert sum(states.values()) == CHUNK


def test_seed_reproduces_its_run() -> None:
    assert play(4711) == play(4711)


def test_seeds_differ() -> None:
    assert play(1).story != play(2).story


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_planted_bug_is_found(bug: str) -> None:
    _, violations = play_chunk(range(1, BUG_SEEDS + 1), bug)
    assert violations, f"{bug} survived {BUG_SEEDS} seeds"


@pytest.mark.parametrize(
    ("text", "expected"), [("42", range(42, 43)), ("1..20000", range(1, 20_001))]
)
def test_a_seed_or_a_range_is_understood(text: str, expected: range) -> None:
    assert seeds(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1..", "..2", "1...2", "5..1"])
def test_what_is_no_range_of_seeds_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"neither a seed nor a range|is empty"):
        seeds(text)
