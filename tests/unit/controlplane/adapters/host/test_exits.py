"""How a process ended, in words."""

from __future__ import annotations

import pytest

from controlplane.adapters.host.exits import how_ended


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with code 0"),
        (1, "ended with code 1"),
        (-9, "ended with signal 9"),
        (137, "ended with signal 9"),
        (143, "ended with signal 15"),
        (255, "ended with code 255"),
    ],
)
def test_end_by_a_signal_is_told_from_an_exit(code: int, words: str) -> None:
    assert how_ended(code) == words
