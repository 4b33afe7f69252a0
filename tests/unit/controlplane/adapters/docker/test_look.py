from __future__ import annotations

import pytest

from controlplane.adapters.docker.look import UP_FOR_LONG


@pytest.mark.parametrize(
    "words", ["Up 10 seconds", "Up 59 seconds", "Up About a minute", "Up 2 hours", "Up 3 weeks"]
)
def test_look_at_a_container_that_was_up_for_long_holds_for_a_moment(words: str) -> None:
    assert UP_FOR_LONG.match(words)


@pytest.mark.parametrize(
    "words",
    [
        "Up Less than a second",
        "Up 1 second",
        "Up 2 seconds",
        "Up 9 seconds (Paused)",
        "Restarting (1) 2 seconds ago",
        "Exited (0) 2 hours ago",
        "Created",
    ],
)
def test_container_that_may_say_the_same_after_a_restart_is_looked_at_again(words: str) -> None:
    assert not UP_FOR_LONG.match(words)
