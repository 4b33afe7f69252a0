"""What the leader can do. A closed union: `changes` matches each and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.goals import Job
from controlplane.domain.model import Blocker, Release, State
from controlplane.domain.routing import Member


@dataclass(frozen=True, slots=True)
class PullImage:
    """Bring a release's bytes to a host, so that a start needs no network."""

    host: str
    release: Release


@dataclass(frozen=True, slots=True)
class KeepImage:
    """Hold the rollback release's bytes on a host until the rollout is over."""

    host: str
    release: Release


@dataclass(frozen=True, slots=True)
class DropImage:
    """Let a host prune bytes that neither runs nor rollback need."""

    host: str
    digest: str


@dataclass(frozen=True, slots=True)
class RunMigration:
    """Run the release's own `camp migrate upgrade` once, on one host."""

    job: Job


@dataclass(frozen=True, slots=True)
class RunChecks:
    """Run the release's own `camp smoke URL` once, on one host."""

    job: Job


@dataclass(frozen=True, slots=True)
class StartInstance:
    """Run a release in a free slot."""

    host: str
    slot: int
    release: Release


@dataclass(frozen=True, slots=True)
class AdmitInstances:
    """Put addresses into the routing table."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class WithdrawInstances:
    """Take addresses out of the routing table."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class DrainInstance:
    """Let requests and streams end, up to the drain deadline."""

    host: str
    slot: int


@dataclass(frozen=True, slots=True)
class StopInstance:
    """End the process, by force after the grace."""

    host: str
    slot: int


@dataclass(frozen=True, slots=True)
class FreeSlot:
    """Forget a slot whose process is gone."""

    host: str
    slot: int


@dataclass(frozen=True, slots=True)
class ReplaceAgent:
    """Let a host's agent be succeeded by that of the release."""

    host: str
    release: Release


@dataclass(frozen=True, slots=True)
class CountAsCaughtUp:
    """The host runs what the environment runs again, after it was away."""

    host: str


Action = (
    PullImage
    | KeepImage
    | DropImage
    | RunMigration
    | RunChecks
    | StartInstance
    | AdmitInstances
    | WithdrawInstances
    | DrainInstance
    | StopInstance
    | FreeSlot
    | ReplaceAgent
    | CountAsCaughtUp
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step: what to do, which state that leaves, what is waited for, when to look again.

    `wake_at` is database time in seconds; `progress` grows while instances move.
    """

    actions: tuple[Action, ...]
    state: State
    reason: str
    blocker: Blocker | None = None
    wake_at: float | None = None
    progress: int = 0
    cause: str = ""
