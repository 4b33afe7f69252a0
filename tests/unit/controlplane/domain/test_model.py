"""The model: counts, deadlines, and what entering a state resets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.model import TERMINAL, Blocker, Policy, State, count, deadline_s, enter
from tests.build import NEW, OLD, release, rollout


@pytest.mark.parametrize(
    ("amount", "total", "up", "down"), [("25%", 6, 2, 1), ("100%", 6, 6, 6), (2, 6, 2, 2)]
)
def test_per_cent_rounds_the_way_the_limit_needs(
    amount: int | str, total: int, up: int, down: int
) -> None:
    assert (count(amount, total, up=True), count(amount, total, up=False)) == (up, down)


@pytest.mark.parametrize("state", [s for s in State if s not in TERMINAL])
def test_every_state_that_may_last_has_a_deadline(state: State) -> None:
    assert deadline_s(Policy(), state) > 0


def test_deadline_outlasts_a_drain_that_takes_its_whole_time() -> None:
    long = Policy(drain_deadline_s=3600.0, progress_deadline_s=600.0)
    for state in (State.PROGRESSING, State.VERIFYING, State.ROLLING_BACK):
        assert deadline_s(long, state) > 3600.0
    assert deadline_s(Policy(), State.PROGRESSING) == 600.0


def test_entering_a_state_starts_its_time_and_forgets_its_blocker() -> None:
    held = rollout(blocker=Blocker("starting", "…", 1.0), progress=4, cause="before")
    entered = enter(held, State.VERIFYING, 7.0)
    assert (entered.state_since, entered.blocker, entered.progress) == (7.0, None, 0)
    assert entered.deadline_at == 7.0 + deadline_s(held.policy, State.VERIFYING)
    assert entered.cause == ""


def test_way_back_carries_its_cause_along() -> None:
    back = rollout(State.ROLLING_BACK, cause="it never became ready")
    assert enter(back, State.ROLLED_BACK, 7.0).cause == "it never became ready"


def test_two_releases_with_the_same_bytes_and_configuration_are_one_spec() -> None:
    assert replace(release(), image="/elsewhere").spec == release().spec
    assert replace(release(), config_hash="other").spec != release().spec


def test_destination_turns_round_only_on_the_way_back() -> None:
    assert rollout(State.PROGRESSING).destination == NEW
    assert rollout(State.ROLLING_BACK).destination == OLD
