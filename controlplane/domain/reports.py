"""What an agent measured, on its own clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.goals import JobState
from controlplane.domain.model import Spec
from controlplane.domain.protocol import PROTOCOL


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


@dataclass(frozen=True, slots=True)
class SlotReport:
    """What an agent saw in one slot; `drained`: no stream left, or its drain deadline passed.

    `environ` stands for the variables that the process was started with, as the runtime sees them.
    """

    slot: int
    spec: Spec
    phase: Phase
    address: str
    drained: bool = False
    restarts: int = 0
    detail: str = ""
    environ: str = ""


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
class Unread:
    """A report that this program cannot read: who wrote it, and what is wrong with it."""

    protocol: int
    agent_version: str
    problem: str


@dataclass(frozen=True, slots=True)
class HostReport:
    """Everything one agent saw in one look, and which version of its desired state it acted on.

    With a `runtime_error` the rest is what it saw last, `blind_s` ago in steps of BLIND_STEP_S.
    `agent_id` tells the agent from any other that was started for this host. `environ` are the
    variables that instances would start with now, each with its keyed hash, never its value.
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
    agent_id: str = ""
    environ: tuple[tuple[str, str], ...] = ()
