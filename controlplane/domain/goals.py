"""What the leader wants of hosts: instances, bytes, one-shot runs, agents."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.model import Policy, Release
from controlplane.domain.protocol import PROTOCOL


class Goal(StrEnum):
    """What the leader wants of a slot."""

    RUN = "run"
    DRAIN = "drain"
    STOP = "stop"


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
    """What one slot should run; `since` is when the goal was last changed (database time).

    `rollout` is the one that started it.
    """

    host: str
    slot: int
    release: Release
    goal: Goal
    since: float
    admitted_once: bool = False
    rollout: str = ""


@dataclass(frozen=True, slots=True)
class AgentGoal:
    """Which release a host's agent shall run; `since` is database time and tells attempts apart."""

    release: Release
    since: float


@dataclass(frozen=True, slots=True)
class HostDesired:
    """What one host should run and hold; the version grows with each change to this host.

    `protocol` is that of the leader who wrote last; `agent` is None for whatever runs already.
    `now` is database time, 0 from a store that does not say it, for how long ago a goal was set.
    `secret` is the key that agents hash variables with, the same on all hosts.
    `holder` is the id of the one agent that may carry this out, "" while nobody claimed the host.
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
    holder: str = ""
    now: float = 0.0
    secret: str = ""
