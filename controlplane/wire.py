"""What the control API speaks, `/control/v1`: the router answers it, client and tools read it.

Times are seconds since 1970 by the database's clock, unless a name says otherwise.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from controlplane.domain.follow import Follow, TagSeen
from controlplane.domain.model import Blocker, Kind, Policy, Release, State
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.reports import AgentReport, PullReport
from controlplane.domain.route import EVERYTHING, Route


class PutEnvironment(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An environment as its TOML file says it; policy and rule are checked by the domain.

    What is not said is not sent: an older instance does not know it.
    """

    hosts: list[str]
    edges: list[str]
    policy: dict[str, Any] = field(default_factory=dict)
    follow: dict[str, Any] | None = None
    route: dict[str, Any] | None = None


class FollowView(Struct, frozen=True, kw_only=True):
    """What an environment follows, and what was seen; `last_look` is None before the first."""

    rule: Follow
    last_look: float | None
    last_error: str
    tags: tuple[TagSeen, ...]


class EnvironmentView(Struct, frozen=True, kw_only=True):
    """An environment, what it holds and what it goes back to."""

    name: str
    hosts: tuple[str, ...]
    edges: tuple[str, ...]
    policy: Policy
    version: int
    current: Release | None
    previous: Release | None
    active_rollout: str | None
    applied_by: str
    applied_at: float
    follow: FollowView | None = None
    # By version, how many slots shall run it.
    runs: dict[str, int] = field(default_factory=dict)
    route: Route = EVERYTHING


class EnvironmentApplied(Struct, frozen=True, kw_only=True):
    """The environment after a PUT; its version grew only when something changed.

    `notes` say what is still to be done for it to take effect.
    """

    environment: EnvironmentView
    changed: bool
    notes: tuple[str, ...] = ()


class AcceptTruth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Go on from what PostgreSQL says; `confirm` is the environment's name once more."""

    confirm: str
    reason: str = ""


class TruthAccepted(Struct, frozen=True, kw_only=True):
    """The epoch and the revision of the routing table that things go on from."""

    environment: str
    epoch: int
    revision: int


class HostOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command for one host."""

    reason: str = ""


class HostAnswer(Struct, frozen=True, kw_only=True):
    """What became of a host; `changed` is false when it was so already."""

    environment: str
    host: str
    changed: bool


class EnvironmentDeleted(Struct, frozen=True, kw_only=True):
    """The environment that is no more."""

    name: str


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A release and who made it known."""

    release: Release
    created_by: str
    created_at: float


class ReleaseAdded(Struct, frozen=True, kw_only=True):
    """The release after a POST; `created` is false when it was known before."""

    release: ReleaseView
    created: bool


class StartRollout(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A wish for a new rollout; a rollback without a version goes to the previous release.

    `restart` starts the present release anew; `instances` brings it to so many on each host. What
    is not said is not sent: an older instance does not know it.
    """

    environment: str
    version: str | None = None
    kind: Kind = Kind.DEPLOY
    reason: str = ""
    supersede: bool = False
    idempotency_key: str = ""
    restart: bool = False
    instances: int | None = None


class SteerRollout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command for a rollout, made while its row had `expected_version`."""

    reason: str = ""
    expected_version: int | None = None
    idempotency_key: str = ""


class RolloutView(Struct, frozen=True, kw_only=True):
    """One rollout; `allowed` are the commands that it would accept now."""

    id: str
    environment: str
    kind: Kind
    state: State
    active: bool
    target: Release
    source: Release | None
    policy: Policy
    version: int
    progress: int
    created_at: float
    state_since: float
    deadline_at: float
    created_by: str
    reason: str
    cause: str
    approved: bool
    paused_from: State | None
    blocker: Blocker | None
    allowed: tuple[str, ...]
    restart: bool = False


class InstanceView(Struct, frozen=True, kw_only=True):
    """One slot: what the leader wants of it and what its agent saw, side by side.

    `phase` is None while nothing was reported; `silent`: the report is too old to be believed.
    `environment_changed`: it was started with other variables than its host has for it now.
    """

    environment: str
    host: str
    slot: int
    version: str
    digest: str
    goal: str | None
    phase: str | None
    address: str
    admitted: bool
    available: bool
    drained: bool
    silent: bool
    since: float
    detail: str
    restarts: int = 0
    environment_changed: bool = False


class HostView(Struct, frozen=True, kw_only=True):
    """One host; `settled` when its last report is about the latest goals.

    `silent_s` is None while no agent has ever reported for it. `runtime_error`: its agent reports,
    but cannot see the instances. `unread`: its agent reports, but what it says cannot be read.
    `drained`: it shall carry none; `behind`: it was away when the environment reached its release.
    `agent_id`: whose reports count; `second_agent` asks for the host as well, and is refused.
    """

    environment: str
    name: str
    silent: bool
    silent_s: float | None
    settled: bool
    agent_version: str
    agent: AgentReport | None = None
    protocol: int = PROTOCOL
    images: tuple[str, ...]
    image_errors: tuple[str, ...]
    pulls: tuple[PullReport, ...] = ()
    runtime_error: str = ""
    drained: bool = False
    behind: bool = False
    unread: str = ""
    agent_id: str = ""
    second_agent: str = ""
    instances: tuple[InstanceView, ...]


class LogView(Struct, frozen=True, kw_only=True):
    """The last lines that one slot's process or container wrote, oldest first."""

    environment: str
    host: str
    slot: int
    lines: tuple[str, ...]


class EventView(Struct, frozen=True, kw_only=True):
    """One line of the log."""

    id: int
    environment: str
    rollout: str | None
    kind: str
    message: str
    at: float
    data: dict[str, Any] = field(default_factory=dict)


class LeaderView(Struct, frozen=True, kw_only=True):
    """Who leads an environment, by the lease."""

    holder: str
    epoch: int


class LeadView(Struct, frozen=True, kw_only=True):
    """Who leads an environment, and why somebody who could does not (`camp rollout why`)."""

    environment: str
    leader: LeaderView | None
    reason_code: str = ""
    reason: str = ""


class Why(Struct, frozen=True, kw_only=True):
    """Why a rollout stands where it stands, and what may safely be done about it.

    `sentence` is the whole answer in one sentence; `blocker` is None while it moves by itself.
    """

    rollout: str
    environment: str
    state: State
    sentence: str
    blocker: Blocker | None
    deadline_at: float
    deadline_in_s: float
    next_actions: tuple[str, ...]
    leader: LeaderView | None
    version: int


class StatusView(Struct, frozen=True, kw_only=True):
    """One environment on one screen, by one look.

    `rollout` is the active one, or the latest; `why` explains it. `drift`: what differs from the
    release that holds; empty while a rollout is active, which changes things on purpose.
    `leader_fault` says why nobody could be asked who leads.
    """

    environment: EnvironmentView
    now: float
    hosts: tuple[HostView, ...]
    leader: LeaderView | None
    leader_fault: str
    table_revision: int
    admitted: int
    rollout: RolloutView | None
    why: Why | None
    drift: tuple[str, ...]


class OperatorView(Struct, frozen=True, kw_only=True):
    """Who may use the control API; `revoked_at` is None for those who still may."""

    name: str
    created_at: float
    revoked_at: float | None = None
    revoked_by: str = ""


class RevokeOperator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wish that an operator's token works no longer."""

    reason: str = ""


class OperatorRevoked(Struct, frozen=True, kw_only=True):
    """The operator after it; `changed` is false when the token was unknown before."""

    operator: OperatorView
    changed: bool


class Problem(Struct, frozen=True, kw_only=True):
    """The part of an RFC 9457 problem that a client acts on."""

    status: int
    title: str = ""
    detail: str = ""
    code: str = ""
