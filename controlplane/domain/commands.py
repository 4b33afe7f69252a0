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
    if why_not := refusal(rollout, command):
        raise Conflict(why_not)
    match command:
        case Command.APPROVE:
            return replace(rollout, approved=True, cause=f"approved by {actor}")
        case Command.PAUSE:
            return enter(rollout, State.PAUSED, now, f"paused by {actor}")
        case Command.RESUME:
            return enter(rollout, rollout.paused_from or State.PROGRESSING, now)
        case Command.ABORT:
            return enter(rollout, State.ABORTED, now, f"aborted by {actor}")
        case Command.ROLLBACK:
            return enter(rollout, State.ROLLING_BACK, now, f"rolled back by {actor}")


def allowed(rollout: Rollout) -> tuple[Command, ...]:
    """The commands that `steer` would accept now."""
    return tuple(command for command in Command if not refusal(rollout, command))


def refusal(rollout: Rollout, command: Command) -> str:
    """Why the rollout cannot take the command now, and what is possible; "" when it can."""
    if not rollout.active:
        return f"Rollout {rollout.id} is already {rollout.state}; start a new one instead."
    match command:
        case Command.APPROVE:
            waits = rollout.policy.approval and rollout.state in UNTOUCHED and not rollout.approved
            return "" if waits else _is(rollout, " and waits for no approval.")
        case Command.PAUSE:
            return _only_in(PAUSABLE, rollout, command)
        case Command.RESUME:
            return "" if rollout.state is State.PAUSED else _is(rollout, ", not paused.")
        case Command.ABORT:
            return ""
        case Command.ROLLBACK if rollout.source is None:
            return (
                f"Rollout {rollout.id} replaced nothing: "
                "there is no release to go back to. Abort it."
            )
        case Command.ROLLBACK if rollout.source.spec == rollout.target.spec:
            return (
                f"Rollout {rollout.id} comes from {rollout.target.version} itself: "
                "there is no other release to go back to. Abort it."
            )
        case Command.ROLLBACK:
            return _only_in(REVERSIBLE, rollout, command)


def _only_in(states: frozenset[State], rollout: Rollout, command: Command) -> str:
    if rollout.state in states:
        return ""
    return _is(rollout, f"; {command} is possible while it is {', '.join(sorted(states))}.")


def _is(rollout: Rollout, rest: str) -> str:
    return f"Rollout {rollout.id} is {rollout.state}{rest}"
