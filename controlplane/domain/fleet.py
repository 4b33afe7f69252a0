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

    `environ` stands for the variables it was started with. `outdated`: the active rollout wants
    it started anew, although it runs the right release.
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
    environ: str = ""
    outdated: bool = False

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
    something else. `rival` is the id of a second agent that asks for the host, and is refused.
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
    holder: str = ""
    rival: str = ""
    environ: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at an environment: the only thing that decisions are made from.

    `leader` is the host whose agent looks, empty where nobody leads. `one_environment`: the active
    rollout wants all hosts to start instances with the same variables.
    """

    hosts: tuple[Host, ...]
    instances: tuple[Instance, ...]
    table: Table
    unconfirmed: tuple[EdgeReading, ...] = ()
    jobs: tuple[Job, ...] = ()
    schema: frozenset[str] = field(default_factory=frozenset)
    leader: str = ""
    one_environment: bool = False

    @property
    def confirmed(self) -> bool:
        """Every edge answered with the intended revision."""
        return not self.unconfirmed

    @property
    def available(self) -> int:
        return sum(i.available for i in self.instances)

    def host(self, name: str) -> Host | None:
        return next((h for h in self.hosts if h.name == name), None)
