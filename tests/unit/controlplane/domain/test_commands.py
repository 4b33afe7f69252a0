"""Commands: what each does, and a sentence with what is possible when it cannot."""

from __future__ import annotations

import pytest

from controlplane.domain.commands import Command, allowed, refusal, steer
from controlplane.domain.errors import Conflict
from controlplane.domain.model import TERMINAL, Policy, Rollout, State
from tests.build import NEW, rollout

ASKING = Policy(approval=True)


def test_paused_rollout_resumes_where_it_was_with_a_new_deadline() -> None:
    paused = steer(rollout(State.VERIFYING), Command.PAUSE, "ada", 10.0)
    assert (paused.state, paused.paused_from) == (State.PAUSED, State.VERIFYING)
    assert paused.cause == "paused by ada"
    resumed = steer(paused, Command.RESUME, "ada", 20.0)
    assert (resumed.state, resumed.paused_from, resumed.state_since) == (
        State.VERIFYING,
        None,
        20.0,
    )


def test_rollback_and_abort_say_who_asked() -> None:
    back = steer(rollout(), Command.ROLLBACK, "ada", 1.0)
    assert (back.state, back.cause) == (State.ROLLING_BACK, "rolled back by ada")
    over = steer(rollout(), Command.ABORT, "ada", 1.0)
    assert (over.state, over.cause) == (State.ABORTED, "aborted by ada")


def test_approval_changes_no_state_and_counts_once() -> None:
    waiting = rollout(State.AWAITING_APPROVAL, policy=ASKING)
    approved = steer(waiting, Command.APPROVE, "ada", 1.0)
    assert (approved.state, approved.approved) == (State.AWAITING_APPROVAL, True)
    with pytest.raises(Conflict, match="waits for no approval"):
        steer(approved, Command.APPROVE, "ada", 1.0)


@pytest.mark.parametrize(
    ("begun", "command", "sentence"),
    [
        (rollout(State.PREFLIGHT), Command.PAUSE, "while it is progressing, verifying"),
        (rollout(State.ROLLING_BACK), Command.ROLLBACK, "rollback is possible while"),
        (rollout(), Command.RESUME, "is progressing, not paused"),
        (rollout(), Command.APPROVE, "waits for no approval"),
        (rollout(source=None), Command.ROLLBACK, "replaced nothing"),
        (rollout(source=NEW), Command.ROLLBACK, "no other release to go back to"),
    ],
)
def test_refused_command_says_what_is_possible(
    begun: Rollout, command: Command, sentence: str
) -> None:
    with pytest.raises(Conflict, match=sentence):
        steer(begun, command, "ada", 1.0)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_is_possible_with_a_rollout_that_is_over(state: State) -> None:
    assert allowed(rollout(state)) == ()
    assert "start a new one" in refusal(rollout(state), Command.ABORT)


@pytest.mark.parametrize("state", [s for s in State if s not in TERMINAL])
def test_allowed_is_what_steer_accepts(state: State) -> None:
    begun = rollout(state, policy=ASKING, paused_from=State.PROGRESSING)
    for command in Command:
        if command in allowed(begun):
            steer(begun, command, "ada", 1.0)
        else:
            with pytest.raises(Conflict):
                steer(begun, command, "ada", 1.0)
    assert Command.ABORT in allowed(begun)
