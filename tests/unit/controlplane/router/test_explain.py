"""One sentence says why a rollout stands where it stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.model import Blocker, Environment, Kind, Policy, Rollout, State
from controlplane.domain.starting import begin
from controlplane.ports.lease import Reason
from controlplane.router.explain import explain
from controlplane.wire import LeaderView
from tests.ledgers import a_release

LEADER = LeaderView(holder="host-a", epoch=4)
PLACE = Environment("local", ("host-a",), ("http://e",), Policy(), current=a_release("1.0.0"))


def a_rollout(state: State, **changes: object) -> Rollout:
    base = begin("r-1", PLACE, Kind.DEPLOY, a_release("1.1.0"), actor="a", reason="", now=100.0)
    return replace(base, state=state, **changes)  # type: ignore[arg-type]  # any field


def test_what_moves_has_no_blocker() -> None:
    why = explain(a_rollout(State.PROGRESSING), 150.0, LEADER)
    assert why.blocker is None
    assert "nothing holds it up" in why.sentence
    assert why.next_actions == ("pause", "abort", "rollback")


def test_the_leaders_blocker_is_the_answer() -> None:
    blocker = Blocker("not_ready", "host-b/1 is not ready.", 120.0, ("pause",))
    why = explain(a_rollout(State.PROGRESSING, blocker=blocker), 150.0, LEADER)
    assert (why.blocker, why.sentence) == (blocker, "host-b/1 is not ready.")


def test_how_far_the_blocker_has_come_is_part_of_the_answer() -> None:
    blocker = Blocker("image_missing", "host-a is still fetching.", 9.0, (), "3 of 166 MB.")
    why = explain(a_rollout(State.PREFLIGHT, blocker=blocker), 150.0, LEADER)
    assert why.sentence == "host-a is still fetching. 3 of 166 MB."


def test_no_leader_outweighs_what_the_last_one_wrote() -> None:
    blocker = Blocker("not_ready", "host-b/1 is not ready.", 120.0)
    why = explain(a_rollout(State.PROGRESSING, blocker=blocker), 150.0, None)
    assert why.blocker is not None
    assert why.blocker.code == "no_leader"


def test_who_gave_up_says_what_happened_again_and_again() -> None:
    reason = Reason("host-a#7", "broken_invariant", "The plan would break I3.")
    why = explain(a_rollout(State.PROGRESSING), 150.0, None, reason)
    assert why.blocker is not None
    assert why.blocker.code == "leader_failed"
    assert "host-a led and gave up" in why.sentence
    assert "I3" in why.sentence


def test_truth_that_went_back_names_the_command_that_accepts_it() -> None:
    reason = Reason("host-a#7", "truth_went_back", "PostgreSQL went back in time.")
    why = explain(a_rollout(State.PROGRESSING), 150.0, None, reason)
    assert why.blocker is not None
    assert why.blocker.next_actions == ("camp env accept-truth local",)


def test_truth_that_went_back_is_told_of_a_finished_rollout_as_well() -> None:
    reason = Reason("host-a#7", "truth_went_back", "PostgreSQL went back in time.")
    why = explain(a_rollout(State.SUCCEEDED), 150.0, None, reason)
    assert why.sentence == "PostgreSQL went back in time."


def test_a_living_leader_outweighs_what_another_candidate_said() -> None:
    reason = Reason("host-a#7", "store_unavailable", "PostgreSQL did not answer.")
    assert explain(a_rollout(State.PROGRESSING), 150.0, LEADER, reason).blocker is None


def test_a_finished_rollout_needs_no_leader() -> None:
    why = explain(a_rollout(State.FAILED, cause="1.1.0 crashed"), 150.0, None, bus_fault="refused")
    assert why.blocker is None
    assert why.sentence == "Rollout r-1 to 1.1.0 is failed: 1.1.0 crashed."
    assert why.deadline_in_s == 0.0


@pytest.mark.parametrize(("state", "word"), [(State.PENDING, "begin"), (State.PAUSED, "resume")])
def test_waiting_states_say_for_what(state: State, word: str) -> None:
    assert word in explain(a_rollout(state), 150.0, LEADER).sentence


def test_only_a_success_can_be_undone() -> None:
    assert explain(a_rollout(State.SUCCEEDED), 1.0, LEADER).next_actions == ("rollback",)
    assert explain(a_rollout(State.ROLLED_BACK), 1.0, LEADER).next_actions == ()
