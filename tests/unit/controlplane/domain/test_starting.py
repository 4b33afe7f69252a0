"""How rollouts begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.errors import Conflict
from controlplane.domain.model import Environment, Kind, Policy, Rollout, State
from controlplane.domain.naming import ROLLOUT_ID, rollout_id
from controlplane.domain.starting import begin, make_room, refuse_refuted, return_to, undo
from controlplane.domain.tokens import token_hash, token_of
from tests.ledgers import a_release

OLD, NOW, NEW = a_release("1.0.0"), a_release("1.1.0"), a_release("1.2.0")


def an_environment(**changes: object) -> Environment:
    base = Environment("local", ("host-a",), ("http://e",), Policy(), current=NOW, previous=OLD)
    return replace(base, **changes)  # type: ignore[arg-type]  # any field may be given


def a_rollout(state: State, **changes: object) -> Rollout:
    base = begin("r-1", an_environment(), Kind.DEPLOY, NEW, actor="alice", reason="", now=1.0)
    return replace(base, state=state, **changes)  # type: ignore[arg-type]  # any field


def test_ids_sort_by_time_and_can_be_read() -> None:
    first, second = rollout_id(1_795_000_000.0, b"\xff\xff"), rollout_id(1_795_000_001.0, b"\0\0")
    assert first == "r-20261118-110640-ffff"
    assert first < second
    assert ROLLOUT_ID.fullmatch(first)


def test_tokens_are_stored_as_hashes_only() -> None:
    token = token_of(bytes(32))
    assert token.startswith("camp_")
    assert len(token_hash(token)) == 64
    assert token not in token_hash(token)


def test_only_a_said_supersede_makes_room() -> None:
    make_room(None, supersede=False)
    make_room(a_rollout(State.PAUSED), supersede=True)
    with pytest.raises(Conflict, match=r"r-1 to .* is paused"):
        make_room(a_rollout(State.PAUSED), supersede=False)


@pytest.mark.parametrize("state", [State.FAILED, State.ABORTED, State.SUPERSEDED, State.PAUSED])
def test_half_a_rollout_is_taken_back_to_what_held(state: State) -> None:
    assert return_to(an_environment(), a_rollout(state)) == NOW


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.ROLLED_BACK])
def test_a_whole_rollout_is_taken_back_to_the_one_before(state: State) -> None:
    assert return_to(an_environment(), a_rollout(state)) == OLD


def test_where_nothing_is_noted_the_refusal_names_what_held_before() -> None:
    back, done = an_environment(previous=None), a_rollout(State.SUCCEEDED)
    with pytest.raises(Conflict, match=r"runs 1\.1\.0 .*--to.* before: 1\.2\.0, 1\.0\.0\.$"):
        return_to(back, done, ("1.1.0", "1.2.0", "1.0.0"))
    with pytest.raises(Conflict, match="no earlier release"):
        return_to(back, done, ("1.1.0",))


@pytest.mark.parametrize("state", [State.FAILED, State.ROLLED_BACK])
def test_what_has_just_failed_is_no_way_back(state: State) -> None:
    with pytest.raises(Conflict, match="just failed"):
        refuse_refuted(NEW, a_rollout(state))
    refuse_refuted(OLD, a_rollout(state))
    refuse_refuted(NEW, a_rollout(State.SUCCEEDED))


def test_a_rolled_back_rollout_leaves_nothing_to_undo() -> None:
    done = a_rollout(State.ROLLED_BACK)
    with pytest.raises(Conflict, match="rolled back already"):
        undo(an_environment(), done, done)


def test_a_rollout_that_replaced_nothing_cannot_be_undone() -> None:
    done = a_rollout(State.SUCCEEDED, source=NEW)
    with pytest.raises(Conflict, match="replaced nothing"):
        undo(an_environment(), done, done)
