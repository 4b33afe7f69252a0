"""The truth as operators write and read it: environments, releases, rollouts, events, tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.domain.commands import Command
from controlplane.domain.follow import Follow, Followed
from controlplane.domain.model import Environment, Kind, Release, Rollout
from controlplane.domain.policy import Draft
from controlplane.domain.routing import Published


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment, its active rollout if there is one, and who applied it last.

    `follow` is its rule, or None; `followed` what was seen by it. `runs`: by version, how many
    slots shall run it; two versions outside of a rollout mean that one was left half-way.
    """

    environment: Environment
    active: str | None
    applied_by: str
    applied_at: float
    follow: Follow | None = None
    followed: Followed = field(default_factory=Followed)
    runs: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One release and who made it known."""

    release: Release
    created_by: str
    created_at: float


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """Who may use the control API; `revoked_at` is None for those who still may."""

    name: str
    created_at: float
    revoked_at: float | None = None
    revoked_by: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """A wish for a new rollout. For a rollback `version` may be None: the previous release.

    `restart` starts the present release anew everywhere; `instances` brings it to so many a host.
    """

    environment: str
    kind: Kind
    version: str | None
    actor: str
    reason: str = ""
    supersede: bool = False
    key: str = ""
    restart: bool = False
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A command for one rollout, made while its row had `expected_version`."""

    rollout: str
    command: Command
    actor: str
    reason: str = ""
    expected_version: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; ids grow in the order in which events became visible."""

    id: int
    environment: str
    rollout: str | None
    kind: str
    message: str
    at: float
    data: Mapping[str, object] = field(default_factory=dict)


# Takes an environment off its edges in a new epoch, which fences whoever led it.
Withdraw = Callable[[int], Awaitable[None]]


class Ledger(Protocol):
    """All methods raise StoreUnavailable; the ones that name a thing raise NotFound.

    A write with an idempotency key that was used before returns the outcome of that first
    request, or raises Conflict when the requests differ.
    """

    async def environments(self) -> tuple[EnvironmentRow, ...]: ...

    async def environment(self, name: str) -> EnvironmentRow: ...

    async def apply(self, draft: Draft, actor: str, known: Published | None = None) -> bool:
        """Create or change an environment with its hosts; false when nothing differs.

        A new one begins above what is `known` of an earlier one of its name.

        Raises Conflict when a host that still has instances would be removed, or while a
        rollout is active and the hosts, route or edges would change under it, or when another
        environment could take the same requests on one edge. Lost edges may always be taken out.
        """
        ...

    async def delete(self, name: str, actor: str, withdraw: Withdraw) -> None:
        """Delete an environment, after `withdraw` took it off its edges.

        Raises Conflict while a rollout is active or instances run, and what `withdraw` raises.
        """
        ...

    async def accept_truth(
        self, environment: str, known: Published, actor: str, reason: str, *, behind: bool = False
    ) -> Published:
        """Go on from what PostgreSQL says although others know more; returns what it is above.

        Raises Conflict when PostgreSQL is not `behind`, as a leader said, nor by what is `known`.
        """
        ...

    async def drain_host(
        self, environment: str, host: str, actor: str, reason: str, *, drained: bool
    ) -> bool:
        """Let a host carry no instances, or again; false when it is so already.

        Raises Conflict for the last host that carries any.
        """
        ...

    async def forget_host(self, environment: str, host: str, actor: str, reason: str) -> None:
        """Take a host out that is gone for good. Raises Conflict while its agent speaks."""
        ...

    async def releases(self) -> tuple[ReleaseRow, ...]:
        """All releases, newest first."""
        ...

    async def release(self, version: str) -> ReleaseRow: ...

    async def add_release(self, release: Release, actor: str) -> bool:
        """Make a release known; false when it is already. Raises Conflict when its version or
        its digest belongs to another release."""
        ...

    async def rollouts(self, environment: str | None, limit: int) -> tuple[Rollout, ...]:
        """The latest rollouts, newest first."""
        ...

    async def rollout(self, name: str) -> Rollout: ...

    async def start(self, start: Start) -> Rollout:
        """Begin a rollout. Raises Conflict with what stands in the way and the remedy."""
        ...

    async def steer(self, order: Order) -> Rollout:
        """Carry out a command; a rollback of a finished rollout begins a new one.

        Raises Conflict when the rollout's state does not allow it or its row has changed.
        """
        ...

    async def events(
        self, after: int, environment: str | None, rollout: str | None, limit: int
    ) -> tuple[Event, ...]:
        """Events with an id above `after`, oldest first."""
        ...

    async def recent_events(
        self, environment: str | None, rollout: str | None, limit: int
    ) -> tuple[Event, ...]:
        """The last `limit` events, oldest first."""
        ...

    async def last_event(self) -> int:
        """The highest event id that is visible, 0 when there is none."""
        ...

    async def operator(self, token_hash: str) -> str | None:
        """The name behind a token, unless it is disabled."""
        ...

    async def add_operator(self, name: str, token_hash: str) -> None:
        """Store an operator. Raises Conflict when the name is taken."""
        ...

    async def operators(self) -> tuple[OperatorRow, ...]:
        """All operators by name, the revoked ones too: their names stay taken."""
        ...

    async def revoke_operator(self, name: str, actor: str, reason: str) -> bool:
        """From now on the operator's token is unknown; false when it was so before.

        Raises Conflict for the last one that works: nobody could steer any more.
        """
        ...
