"""What is deployed, by which rules, and how far one attempt has come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from controlplane.domain.route import EVERYTHING, Route


class State(StrEnum):
    """Where a rollout stands."""

    PENDING = "pending"
    PREFLIGHT = "preflight"
    AWAITING_APPROVAL = "awaiting_approval"
    MIGRATING = "migrating"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    VERIFYING = "verifying"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


TERMINAL = frozenset(
    {State.SUCCEEDED, State.ROLLED_BACK, State.FAILED, State.ABORTED, State.SUPERSEDED}
)


class Kind(StrEnum):
    """Why a rollout exists: to bring something new, or to go back by command."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class EdgesRequired(StrEnum):
    """Which edges must confirm a table: every one, or those that are not lost."""

    ALL = "all"
    ANY = "any"


class OnFailure(StrEnum):
    """What a rollout does by itself when its target does not hold."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Spec:
    """What makes two instances the same: the bytes and the configuration."""

    version: str
    digest: str
    config_hash: str


# Every look compares specs of the same few releases many times.
_spec = lru_cache(maxsize=256)(Spec)


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable thing to run; `image` says where its bytes are, `digest` which bytes they are.

    `schema_head` is the newest revision that it carries, `schema_min` the oldest it can live with.
    """

    version: str
    digest: str
    image: str
    revision: str
    schema_head: str
    schema_min: str
    config_hash: str

    @property
    def spec(self) -> Spec:
        return _spec(self.version, self.digest, self.config_hash)


def nameless(spec: Spec) -> Release:
    """What is known of a release by one of its instances only: enough to send it away."""
    return Release(spec.version, spec.digest, "", "", "", "", spec.config_hash)


# On one host: beyond this a number is a slip of the finger, and the host would go down with it.
MOST_INSTANCES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How an environment wants to be changed; counts may be given as "25%" of the fleet."""

    instances_per_host: int = 2
    max_surge: int | str = 1
    max_unavailable: int | str = 0
    batch_size: int | str = "100%"
    on_failure: OnFailure = OnFailure.ROLLBACK
    approval: bool = False
    update_agents: bool = False
    same_environment: bool = True
    smoke_url: str = ""
    min_healthy_s: float = 2.0
    bake_s: float = 5.0
    start_deadline_s: float = 60.0
    drain_deadline_s: float = 60.0
    stop_grace_s: float = 10.0
    host_silence_s: float = 15.0
    max_failures: int | str = "10%"
    edges_required: EdgesRequired = EdgesRequired.ALL
    edge_silence_s: float = 15.0
    max_restarts: int = 3
    preflight_deadline_s: float = 600.0
    approval_deadline_s: float = 86_400.0
    migration_deadline_s: float = 900.0
    progress_deadline_s: float = 600.0
    paused_deadline_s: float = 86_400.0
    rollback_deadline_s: float = 1_800.0
    # A quarter of a year, a year, a year.
    keep_events_s: float = 7_776_000.0
    keep_rollouts_s: float = 31_536_000.0
    keep_releases_s: float = 31_536_000.0


@dataclass(frozen=True, slots=True)
class Blocker:
    """The one thing that an unmoving rollout waits for, and what may safely be done about it.

    `detail` says how far it has come; it changes without a new version of the rollout's row.
    """

    code: str
    sentence: str
    since: float
    next_actions: tuple[str, ...] = ()
    detail: str = ""

    @property
    def told(self) -> str:
        """The sentence, and how far it has come."""
        return f"{self.sentence} {self.detail}".rstrip()

    @property
    def cause(self) -> Blocker:
        """All but how far it has come."""
        return replace(self, detail="") if self.detail else self


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt to bring an environment to a release; times are database time in seconds.

    A `restart` starts every instance anew, also those that run the release already.
    """

    id: str
    environment: str
    kind: Kind
    target: Release
    source: Release | None
    policy: Policy
    state: State
    created_at: float
    state_since: float
    deadline_at: float
    version: int = 1
    progress: int = 0
    paused_from: State | None = None
    approved: bool = False
    cause: str = ""
    blocker: Blocker | None = None
    created_by: str = ""
    reason: str = ""
    restart: bool = False

    @property
    def active(self) -> bool:
        return self.state not in TERMINAL

    @property
    def renews(self) -> bool:
        """Instances that were started with other variables are replaced; not on a way back."""
        return self.active and self.kind is Kind.DEPLOY and self.state is not State.ROLLING_BACK

    @property
    def destination(self) -> Release:
        """The release this rollout is moving towards now."""
        if self.state is State.ROLLING_BACK and self.source is not None:
            return self.source
        return self.target


@dataclass(frozen=True, slots=True)
class Environment:
    """A named place to deploy to; `current` is the last release that held on every slot."""

    name: str
    hosts: tuple[str, ...]
    edges: tuple[str, ...]
    policy: Policy
    version: int = 1
    current: Release | None = None
    previous: Release | None = None
    route: Route = EVERYTHING


def count(amount: int | str, total: int, *, up: bool) -> int:
    """An absolute number, or per cent of `total` rounded up or down."""
    if isinstance(amount, int):
        return amount
    hundredths = total * int(amount.removesuffix("%"))
    return -(-hundredths // 100) if up else hundredths // 100


def deadline_s(policy: Policy, state: State) -> float:
    """How long a state may last before the rollout gives it up."""
    match state:
        case State.PENDING | State.PREFLIGHT:
            return policy.preflight_deadline_s
        case State.AWAITING_APPROVAL:
            return policy.approval_deadline_s
        case State.MIGRATING:
            return policy.migration_deadline_s
        case State.PROGRESSING:
            return _progress_s(policy)
        case State.VERIFYING:
            return policy.bake_s + _progress_s(policy)
        case State.PAUSED:
            return policy.paused_deadline_s
        case State.ROLLING_BACK:
            return max(policy.rollback_deadline_s, _progress_s(policy))
        case _:
            return 0.0


def _progress_s(policy: Policy) -> float:
    """Streams may rightly take their whole drain deadline before the next thing can move."""
    return max(policy.progress_deadline_s, policy.drain_deadline_s + 2 * policy.stop_grace_s)


def enter(rollout: Rollout, state: State, now: float, cause: str = "") -> Rollout:
    """The rollout in its new state, with that state's deadline and no blocker yet.

    Only the way back carries its cause along: what was paused, or approved, explains no more.
    """
    kept = rollout.cause if rollout.state is State.ROLLING_BACK else ""
    return replace(
        rollout,
        state=state,
        state_since=now,
        deadline_at=now + deadline_s(rollout.policy, state),
        paused_from=rollout.state if state is State.PAUSED else None,
        cause=cause or kept,
        progress=0,
        blocker=None,
    )
