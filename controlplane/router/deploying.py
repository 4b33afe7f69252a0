"""Environments, releases and rollouts over HTTP: each handler asks the ledger one thing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from controlplane.domain.commands import Command
from controlplane.domain.errors import BusUnavailable, NotFound
from controlplane.domain.model import Environment, Release
from controlplane.domain.policy import draft
from controlplane.ports.ledger import Order, Start
from controlplane.router.control import Control
from controlplane.router.views import environment_view, release_view, rollout_view
from controlplane.wire import (
    EnvironmentApplied,
    EnvironmentDeleted,
    EnvironmentView,
    PutEnvironment,
    ReleaseAdded,
    ReleaseView,
    RolloutView,
    StartRollout,
    SteerRollout,
)

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


class EnvironmentController(Controller):
    """What there is to deploy to."""

    path = "/environments"

    @get()
    async def list_environments(self, control: NamedDependency[Control]) -> list[EnvironmentView]:
        """All environments by name."""
        return [environment_view(row) for row in await control.ledger.environments()]

    @get("/{name:str}")
    async def show_environment(
        self, control: NamedDependency[Control], name: FromPath[str]
    ) -> EnvironmentView:
        """One environment."""
        return environment_view(await control.ledger.environment(name))

    @put("/{name:str}")
    async def apply_environment(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        name: FromPath[str],
        data: JSONBody[PutEnvironment],
    ) -> EnvironmentApplied:
        """Create or change an environment; the same content changes nothing."""
        table = msgspec.structs.asdict(data)
        before = next(
            (r for r in await control.ledger.environments() if r.environment.name == name), None
        )
        try:
            async with control.routing(name) as routing:
                known = await routing.published()
        except BusUnavailable:
            known = None
        changed = await control.ledger.apply(draft(name, table), actor, known)
        if changed:
            await control.nudge(name)
        row = await control.ledger.environment(name)
        notes = _notes(before.environment, row.environment) if before is not None else ()
        return EnvironmentApplied(environment=environment_view(row), changed=changed, notes=notes)

    @delete("/{name:str}", status_code=200)
    async def delete_environment(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        name: FromPath[str],
    ) -> EnvironmentDeleted:
        """Delete an environment that runs nothing, and take it off its edges."""
        async with control.routing(name) as routing:
            await control.ledger.delete(name, actor, routing.withdraw)
        await control.nudge(name)
        return EnvironmentDeleted(name=name)


def _notes(before: Environment, after: Environment) -> tuple[str, ...]:
    """What a change does not bring about by itself."""
    wanted = after.policy.instances_per_host
    if after.current is None or before.policy.instances_per_host == wanted:
        return ()
    note = f"{wanted} instances on each host take effect with the next rollout; to make one now:"
    return (f"{note} camp rollout scale {after.name} {wanted}",)


class ReleaseController(Controller):
    """What there is to deploy."""

    path = "/releases"

    @get()
    async def list_releases(self, control: NamedDependency[Control]) -> list[ReleaseView]:
        """All releases, newest first."""
        return [release_view(row) for row in await control.ledger.releases()]

    @get("/{version:str}")
    async def show_release(
        self, control: NamedDependency[Control], version: FromPath[str]
    ) -> ReleaseView:
        """One release."""
        return release_view(await control.ledger.release(version))

    @post()
    async def add_release(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        data: JSONBody[Release],
    ) -> Response[ReleaseAdded]:
        """Make a release known: 201 when it is new, 200 when it was known before."""
        created = await control.ledger.add_release(data, actor)
        row = await control.ledger.release(data.version)
        answer = ReleaseAdded(release=release_view(row), created=created)
        return Response(answer, status_code=201 if created else 200)


class RolloutController(Controller):
    """Attempts to bring an environment to a release."""

    path = "/rollouts"

    @get()
    async def list_rollouts(
        self,
        control: NamedDependency[Control],
        environment: FromQuery[str | None] = None,
        limit: Limit = 50,
    ) -> list[RolloutView]:
        """The latest rollouts, newest first."""
        if environment is not None:
            await control.ledger.environment(environment)
        return [rollout_view(r) for r in await control.ledger.rollouts(environment, limit)]

    @post()
    async def start_rollout(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        data: JSONBody[StartRollout],
    ) -> RolloutView:
        """Begin a rollout."""
        rollout = await control.ledger.start(
            Start(
                environment=data.environment,
                kind=data.kind,
                version=data.version,
                actor=actor,
                reason=data.reason,
                supersede=data.supersede,
                key=data.idempotency_key,
                restart=data.restart,
                instances=data.instances,
            )
        )
        await control.nudge(rollout.environment)
        return rollout_view(rollout)

    @get("/{name:str}")
    async def show_rollout(
        self, control: NamedDependency[Control], name: FromPath[str]
    ) -> RolloutView:
        """One rollout."""
        return rollout_view(await control.ledger.rollout(name))

    @post("/{name:str}/{command:str}", status_code=200)
    async def steer_rollout(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        name: FromPath[str],
        command: FromPath[str],
        data: JSONBody[SteerRollout],
    ) -> RolloutView:
        """Approve, pause, resume, abort or roll back."""
        if command not in tuple(Command):
            raise NotFound(
                f"There is no command {command!r}; a rollout knows {', '.join(Command)}."
            )
        rollout = await control.ledger.steer(
            Order(
                rollout=name,
                command=Command(command),
                actor=actor,
                reason=data.reason,
                expected_version=data.expected_version,
                key=data.idempotency_key,
            )
        )
        await control.nudge(rollout.environment)
        return rollout_view(rollout)
