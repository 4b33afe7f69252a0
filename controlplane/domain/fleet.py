"""What runs where, as the leader knows it: goals it wrote, reports it read, edges it asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.domain.goals import AgentGoal, Goal, Job
from controlplane.domain.model import Spec
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.reports import SERVING, AgentReport, ImageReport, Phase, PullReport
from controlplane.domain.routing import EdgeReading, Member, Table


@dataclass(frozen=True, slots=True)
class Instance:
    """One slot, goal and report laid side by side. `phase` is None while nothing was reported.

    `unreached_by` are the edges that send traffic to it and cannot reach it; `untried`: an edge has
    not checked yet whether it can. `environ` stands for the variables it was started with.
    `outdated`: the active rollout wants it started anew, although it runs the right release.
    """

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
    restarts: int = 0
    unreached_by: tuple[str, ...] = ()
    untried: bool = False
    environ: str = ""
    outdated: bool = False

    @property
    def name(self) -> str:
        return f"{self.host}/{self.slot}"

    @property
    def available(self) -> bool:
        """Admitted, ready by a report that can still be believed, and within reach of the edges."""
        return (
            self.member is not None
            and self.member.address == self.address
            and self.phase in SERVING
            and not self.silent
            and not self.unreached_by
        )


@dataclass(frozen=True, slots=True)
class Host:
    """One host; `settled` when its last report is about the latest goals.

    `silent` when nothing is known of its instances, for `silent_s` by now: its agent does not
    report, or cannot see them either; `runtime_error` then says why.

    A host whose agent speaks too different a `protocol` counts as silent: what it says may mean
    something else. So does one whose report cannot be read; `unread` then says why. A `drained`
    one shall carry no instances; one that is `behind` was away when the environment reached its
    release, and catches up.
    `rival` is the id of a second agent that asks for the host, and is refused.
    `environ` are the variables that instances start with there, each with its keyed hash.
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
    drained: bool = False
    behind: bool = False
    unread: str = ""
    holder: str = ""
    rival: str = ""
    environ: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at an environment: the only thing that decisions are made from.

    `schema` are the revisions that were applied, `retired` those before the last contract: what
    a release with such a head relies on may be gone.
    `leader` is the host whose agent looks, empty where nobody leads. `unconfirmed` are the edges
    that still have to confirm the table, `lost` those that have not for too long.
    `one_environment`: the active rollout wants all hosts to start instances alike, with the same
    variables.
    """

    hosts: tuple[Host, ...]
    instances: tuple[Instance, ...]
    table: Table
    unconfirmed: tuple[EdgeReading, ...] = ()
    lost: tuple[EdgeReading, ...] = ()
    jobs: tuple[Job, ...] = ()
    schema: frozenset[str] = field(default_factory=frozenset)
    retired: frozenset[str] = field(default_factory=frozenset)
    leader: str = ""
    one_environment: bool = False

    @property
    def confirmed(self) -> bool:
        """Every edge that is waited for serves the intended table."""
        return not self.unconfirmed

    @property
    def held_by_edge(self) -> bool:
        """An edge that is waited for has been away for too long to come back in this step."""
        return any(reading in self.lost for reading in self.unconfirmed)

    @property
    def available(self) -> int:
        return sum(i.available for i in self.instances)

    def host(self, name: str) -> Host | None:
        return next((h for h in self.hosts if h.name == name), None)
