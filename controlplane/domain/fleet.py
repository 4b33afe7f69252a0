"""What runs where, as the leader knows it: goals it wrote, reports it read, edges it asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.domain.model import Policy, Release, Spec, count

# Which goals and reports a program understands. Leaders and agents of neighbouring numbers work
# together; raise it when an agent of the number before could misread what is written now.
PROTOCOL = 1


def skewed(theirs: int, ours: int = PROTOCOL) -> bool:
    """Whether two programs are too far apart to believe each other."""
    return abs(theirs - ours) > 1


class Goal(StrEnum):
    """What the leader wants of a slot."""

    RUN = "run"
    DRAIN = "drain"
    STOP = "stop"


class Phase(StrEnum):
    """What an agent measured of a slot, on its own clock.

    `ready` becomes `healthy` after min_healthy_s without a break; what stays unready longer
    than start_deadline_s, or restarts too often, is `failed`.
    """

    STARTING = "starting"
    READY = "ready"
    HEALTHY = "healthy"
    UNREADY = "unready"
    FAILED = "failed"
    EXITED = "exited"


# A report that differs wakes the leader; how long it is blind need not do that each second.
BLIND_STEP_S = 5.0
# Of one slot's log, for one question.
MAX_LOG_LINES = 1000
SERVING = frozenset({Phase.READY, Phase.HEALTHY})
NOT_SERVING = frozenset({Phase.STARTING, Phase.EXITED})


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One address in the routing table and the instance that it stands for."""

    host: str
    slot: int
    address: str


@dataclass(frozen=True, slots=True)
class Table:
    """The addresses that the edges should use; the revision grows with each change."""

    revision: int = 0
    members: frozenset[Member] = frozenset()


@dataclass(frozen=True, slots=True)
class EdgeReading:
    """What one edge answered when asked which table is live; None: it did not say."""

    edge: str
    revision: int | None
    error: str = ""


class JobState(StrEnum):
    """How far a one-shot run has come."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A one-shot run of a release on a host; `id` is `{rollout}/{attempt}`."""

    id: str
    host: str
    release: Release
    command: tuple[str, ...]
    state: JobState = JobState.WAITING
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SlotGoal:
    """What one slot should run; `since` is when the goal was last changed (database time)."""

    host: str
    slot: int
    release: Release
    goal: Goal
    since: float
    admitted_once: bool = False


@dataclass(frozen=True, slots=True)
class SlotReport:
    """What an agent saw in one slot; `drained`: no stream left, or its drain deadline passed."""

    slot: int
    spec: Spec
    phase: Phase
    address: str
    drained: bool = False
    restarts: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ImageReport:
    """Whether the bytes of a release are on the host; a permanent error will not heal by retry."""

    digest: str
    present: bool
    error: str = ""
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class PullReport:
    """How far a pull under way has come; the total grows while layers are found."""

    digest: str
    here_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class JobReport:
    """What an agent saw of a one-shot run."""

    id: str
    state: JobState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AgentGoal:
    """Which release a host's agent shall run; `since` is database time and tells attempts apart."""

    release: Release
    since: float


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What an agent says of itself; an unknown `digest` is empty.

    `obstacle` says why it cannot be replaced. `refused` is the `since` of the goal whose successor
    did not take over, and `detail` why not.
    """

    digest: str = ""
    obstacle: str = ""
    refused: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HostReport:
    """Everything one agent saw in one look, and which version of its desired state it acted on.

    With a `runtime_error` the rest is what it saw last, `blind_s` ago in steps of BLIND_STEP_S.
    """

    host: str
    epoch: int
    desired_version: int
    slots: tuple[SlotReport, ...] = ()
    images: tuple[ImageReport, ...] = ()
    jobs: tuple[JobReport, ...] = ()
    agent_version: str = ""
    protocol: int = PROTOCOL
    agent: AgentReport | None = None
    pulls: tuple[PullReport, ...] = ()
    runtime_error: str = ""
    blind_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HostDesired:
    """What one host should run and hold; the version grows with each change to this host.

    `protocol` is that of the leader who wrote last; `agent` is None for whatever runs already.
    """

    host: str
    epoch: int
    version: int
    policy: Policy
    slots: tuple[SlotGoal, ...] = ()
    images: tuple[Release, ...] = ()
    jobs: tuple[Job, ...] = ()
    agent: AgentGoal | None = None
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Instance:
    """One slot, goal and report laid side by side. `phase` is None while nothing was reported."""

    host: str
    slot: int
    spec: Spec
    goal: Goal | None
    since: float
    phase: Phase | None
    address: str
    drained: bool
    admitted_once: bool
    member: Member | None
    silent: bool
    detail: str = ""

    @property
    def name(self) -> str:
        return f"{self.host}/{self.slot}"

    @property
    def available(self) -> bool:
        """Admitted and ready, by a report that can still be believed."""
        return (
            self.member is not None
            and self.member.address == self.address
            and self.phase in SERVING
            and not self.silent
        )


@dataclass(frozen=True, slots=True)
class Host:
    """One host; `settled` when its last report is about the latest goals.

    `silent` when nothing is known of its instances, for `silent_s` by now: its agent does not
    report, or cannot see them either; `runtime_error` then says why.

    A host whose agent speaks too different a `protocol` counts as silent: what it says may mean
    something else.
    """

    name: str
    silent_s: float
    silent: bool
    settled: bool
    images: frozenset[str] = frozenset()
    wanted_images: frozenset[str] = frozenset()
    image_errors: tuple[ImageReport, ...] = ()
    protocol: int = PROTOCOL
    agent_version: str = ""
    agent: AgentReport | None = None
    agent_goal: AgentGoal | None = None
    pulls: tuple[PullReport, ...] = ()
    runtime_error: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at an environment: the only thing that decisions are made from.

    `leader` is the host whose agent looks, empty where nobody leads.
    """

    hosts: tuple[Host, ...]
    instances: tuple[Instance, ...]
    table: Table
    unconfirmed: tuple[EdgeReading, ...] = ()
    jobs: tuple[Job, ...] = ()
    schema: frozenset[str] = field(default_factory=frozenset)
    leader: str = ""

    @property
    def confirmed(self) -> bool:
        """Every edge answered with the intended revision."""
        return not self.unconfirmed

    @property
    def available(self) -> int:
        return sum(i.available for i in self.instances)

    def host(self, name: str) -> Host | None:
        return next((h for h in self.hosts if h.name == name), None)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that guard availability.

    Six instances, surge 1, unavailable 0: at least 6 available, never more than 7 in all.
    """

    desired: int
    min_available: int
    max_total: int
    batch: int


def bounds(policy: Policy, hosts: int) -> Bounds:
    """The limits of a policy for a fleet of `hosts` hosts."""
    desired = policy.instances_per_host * hosts
    return Bounds(
        desired=desired,
        min_available=desired - count(policy.max_unavailable, desired, up=False),
        max_total=desired + count(policy.max_surge, desired, up=True),
        batch=max(1, count(policy.batch_size, desired, up=True)),
    )
