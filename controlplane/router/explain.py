"""Why a rollout stands where it stands, in one sentence."""

from __future__ import annotations

from controlplane.domain.commands import Command, allowed
from controlplane.domain.errors import TruthWentBack
from controlplane.domain.model import Blocker, Rollout, State
from controlplane.ports.lease import Reason
from controlplane.wire import LeaderView, Why


def explain(
    rollout: Rollout,
    now: float,
    leader: LeaderView | None,
    reason: Reason | None = None,
    bus_fault: str = "",
) -> Why:
    """The whole answer; `bus_fault` says why the leader could not be asked for, `reason` why
    somebody who could lead does not."""
    outer = _outer_blocker(rollout, now, leader, reason, bus_fault)
    # Over is over, unless PostgreSQL has forgotten what came after it.
    heard = outer if rollout.active or (outer and outer.code == TruthWentBack.code) else None
    blocker = heard or rollout.blocker
    return Why(
        rollout=rollout.id,
        environment=rollout.environment,
        state=State(rollout.state),
        sentence=blocker.told if blocker else _sentence(rollout),
        blocker=blocker,
        deadline_at=rollout.deadline_at,
        deadline_in_s=max(0.0, rollout.deadline_at - now) if rollout.active else 0.0,
        next_actions=_next_actions(rollout),
        leader=leader,
        version=rollout.version,
    )


def _outer_blocker(
    rollout: Rollout,
    now: float,
    leader: LeaderView | None,
    reason: Reason | None,
    bus_fault: str,
) -> Blocker | None:
    """What holds a rollout up outside of it, where no leader can write it down."""
    actions = _next_actions(rollout)
    if bus_fault:
        return Blocker(
            "bus_unavailable",
            f"Redis does not answer ({bus_fault.rstrip('.')}), so no step is taken while instances "
            "keep serving; bring Redis back and the rollout goes on by itself.",
            now,
            actions,
        )
    if leader is None and reason is not None and reason.code == TruthWentBack.code:
        accept = f"camp env accept-truth {rollout.environment}"
        return Blocker(reason.code, reason.sentence, now, (accept,))
    if leader is None and reason is not None:
        return Blocker(
            "leader_failed",
            f"No agent leads {rollout.environment}. {reason.holder.partition('#')[0]} led and gave"
            f" up, because this happened again and again: {reason.sentence}",
            now,
            actions,
        )
    if leader is None:
        return Blocker(
            "no_leader",
            f"No agent leads {rollout.environment}, so nothing moves; wait some seconds for one to "
            f"take over, or start one: camp agent --environment {rollout.environment}.",
            now,
            actions,
        )
    return None


def _next_actions(rollout: Rollout) -> tuple[str, ...]:
    if rollout.active:
        return tuple(str(command) for command in allowed(rollout))
    return (str(Command.ROLLBACK),) if rollout.state is State.SUCCEEDED else ()


def _sentence(rollout: Rollout) -> str:
    cause = f": {rollout.cause}" if rollout.cause else ""
    if not rollout.active:
        return f"Rollout {rollout.id} to {rollout.target.version} is {rollout.state}{cause}."
    match rollout.state:
        case State.PENDING:
            return f"Rollout {rollout.id} waits for its leader to begin."
        case State.PAUSED:
            return f"Rollout {rollout.id} is paused{cause}; resume it or roll it back."
        case _:
            return (
                f"Rollout {rollout.id} is {rollout.state} towards {rollout.destination.version}; "
                "nothing holds it up."
            )
