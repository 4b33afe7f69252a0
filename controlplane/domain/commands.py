"""What operators may ask of a rollout, and what each request does to it."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from controlplane.domain.errors import Conflict
from controlplane.domain.model import Rollout, State, enter


class Command(StrEnum):
    """A request of an operator."""

    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"


PAUSABLE = frozenset({State.PROGRESSING, State.VERIFYING})
REVERSIBLE = frozenset({State.PROGRESSING, State.VERIFYING, State.PAUSED})
UNTOUCHED = frozenset({State.PENDING, State.PREFLIGHT, State.AWAITING_APPROVAL})


def steer(rollout: Rollout, command: Command, actor: str, now: float) -> Rollout:
    """The rollout after the command. Raises Conflict with what is possible instead."""
    if not rollout.active:
        raise Conflict(f"Rollout {rollout.id} is already {rollout.state}; start a new one instead.")
    match command:
        case Command.APPROVE:
            return _approve(rollout, actor)
        case Command.PAUSE:
            _require(PAUSABLE, rollout, command)
            return enter(rollout, State.PAUSED, now, f"paused by {actor}")
        case Command.RESUME:
            return _resume(rollout, now)
        case Command.ABORT:
            return enter(rollout, State.ABORTED, now, f"aborted by {actor}")
        case Command.ROLLBACK:
            return _rollback(rollout, actor, now)


def allowed(rollout: Rollout) -> tuple[Command, ...]:
    """The commands that `steer` would accept now."""
    possible = []
    for command in Command:
        try:
            steer(rollout, command, "", rollout.state_since)
        except Conflict:
            continue
        possible.append(command)
    return tuple(possible)


def _approve(rollout: Rollout, actor: str) -> Rollout:
    if rollout.approved or rollout.state not in UNTOUCHED or not rollout.policy.approval:
        raise Conflict(f"Rollout {rollout.id} is {rollout.state} and waits for no approval.")
    return replace(rollout, approved=True, cause=f"approved by {actor}")


def _require(states: frozenset[State], rollout: Rollout, command: Command) -> None:
    if rollout.state not in states:
        fitting = ", ".join(sorted(states))
        raise Conflict(
            f"Rollout {rollout.id} is {rollout.state}; {command} is possible while it is {fitting}."
        )


def _resume(rollout: Rollout, now: float) -> Rollout:
    if rollout.state is not State.PAUSED or rollout.paused_from is None:
        raise Conflict(f"Rollout {rollout.id} is {rollout.state}, not paused.")
    return enter(rollout, rollout.paused_from, now)


def _rollback(rollout: Rollout, actor: str, now: float) -> Rollout:
    if rollout.source is None:
        raise Conflict(
            f"Rollout {rollout.id} replaced nothing: there is no release to go back to. Abort it."
        )
    _require(REVERSIBLE, rollout, Command.ROLLBACK)
    return enter(rollout, State.ROLLING_BACK, now, f"rolled back by {actor}")
