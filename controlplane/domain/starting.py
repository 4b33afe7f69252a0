"""How a rollout begins: what it moves to, and what stands in its way."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain.bounds import immovable
from controlplane.domain.errors import Conflict, Invalid
from controlplane.domain.model import (
    MOST_INSTANCES,
    Environment,
    Kind,
    Release,
    Rollout,
    State,
    deadline_s,
)

UNFINISHED = frozenset({State.FAILED, State.ABORTED, State.SUPERSEDED})
REFUTED = frozenset({State.FAILED, State.ROLLED_BACK})


def begin(
    name: str,
    environment: Environment,
    kind: Kind,
    target: Release,
    *,
    actor: str,
    reason: str,
    now: float,
    restart: bool = False,
) -> Rollout:
    """A rollout that waits for its leader, with the environment's policy as it is now."""
    return Rollout(
        id=name,
        environment=environment.name,
        kind=kind,
        target=target,
        source=environment.current,
        policy=environment.policy,
        state=State.PENDING,
        created_at=now,
        state_since=now,
        deadline_at=now + deadline_s(environment.policy, State.PENDING),
        created_by=actor,
        reason=reason,
        restart=restart,
    )


def running(environment: Environment) -> Release:
    """What a restart or another count of instances starts. Raises Conflict when nothing runs."""
    if environment.current is None:
        raise Conflict(
            f"No release holds in {environment.name} yet, so there is nothing to start anew;"
            f" bring one: camp rollout start {environment.name} VERSION."
        )
    return environment.current


def scaled(environment: Environment, instances: int) -> Environment:
    """The environment with so many instances on each host. Raises Invalid."""
    if not 1 <= instances <= MOST_INSTANCES:
        raise Invalid(f"instances: write a whole number from 1 to {MOST_INSTANCES}.")
    policy = replace(environment.policy, instances_per_host=instances)
    if problem := immovable(policy, len(environment.hosts)):
        raise Invalid(problem)
    return replace(environment, policy=policy, version=environment.version + 1)


def make_room(active: Rollout | None, supersede: bool) -> None:
    """Raises Conflict when a rollout is active and nobody said that it may be superseded."""
    if active is None or supersede:
        return
    raise Conflict(
        f"Rollout {active.id} to {active.target.version} is {active.state} in "
        f"{active.environment}; wait for it or abort it; camp rollout start takes --supersede."
    )


def return_to(
    environment: Environment, last: Rollout | None, held: tuple[str, ...] = ()
) -> Release:
    """Where a rollback goes when no version is named. Raises Conflict when there is nothing.

    `held`: versions that once held here, the latest first; the remedy names them.

    After a rollout that stopped half-way, or while one is on its way, the environment goes back
    to what held before it, otherwise to the release before the present one.
    """
    halfway = last is not None and (last.active or last.state in UNFINISHED)
    release = environment.current if halfway else environment.previous
    if release is None:
        raise Conflict(_no_way_back(environment, held))
    return release


def _no_way_back(environment: Environment, held: tuple[str, ...]) -> str:
    current = environment.current
    others = [version for version in held if current is None or version != current.version]
    if current is None or not others:
        return (
            f"{environment.name} has no earlier release to go back to; "
            "name one with --to VERSION, or start a rollout."
        )
    return (
        f"{environment.name} runs {current.version} and does not go back from there by itself; "
        f"name where to with --to. What held here before: {', '.join(others)}."
    )


def undo(environment: Environment, rollout: Rollout, last: Rollout | None) -> Release:
    """Where the rollback of one finished rollout goes. Raises Conflict when it cannot be undone."""
    if last is None or last.id != rollout.id:
        raise Conflict(
            f"Rollout {rollout.id} is not the latest of {environment.name}; "
            f"say where to go instead: camp rollout rollback {environment.name} --to VERSION."
        )
    if rollout.state is State.ROLLED_BACK:
        raise Conflict(f"Rollout {rollout.id} was rolled back already; nothing is left to undo.")
    if rollout.state in UNFINISHED:
        return return_to(environment, rollout)
    if rollout.source is None or rollout.source.spec == rollout.target.spec:
        raise Conflict(
            f"Rollout {rollout.id} replaced nothing, so there is no release to go back to; "
            f"name one: camp rollout rollback {environment.name} --to VERSION."
        )
    return rollout.source


def refuse_refuted(target: Release, last: Rollout | None) -> None:
    """Raises Conflict when a rollback would return to the spec that has just failed (I10)."""
    refuted = last is not None and last.state in REFUTED and not last.restart
    if last is not None and refuted and last.target.spec == target.spec:
        raise Conflict(
            f"{target.version} has just failed in rollout {last.id}; "
            "roll back to another version with --to VERSION."
        )
