"""Replacing the agent of this host by that of another release, beside everything that runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from controlplane.domain.goals import AgentGoal


class Stage(StrEnum):
    """How far a successor has come; a `ready` one waits for nothing but the host."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Successor:
    """The successor as its predecessor sees it; `detail` says why it failed."""

    stage: Stage
    detail: str = ""


class Succession(Protocol):
    """Both sides of it: who is replaced, and who takes over. Raises as the runtime does."""

    @property
    def digest(self) -> str:
        """The release that this agent runs from; empty when it cannot be known."""
        ...

    @property
    def obstacle(self) -> str:
        """Why this agent cannot be replaced; empty when it can."""
        ...

    async def begin(self, goal: AgentGoal) -> None:
        """Start a successor from bytes that are on this host; nothing if there is one."""
        ...

    async def look(self, goal: AgentGoal) -> Successor:
        """The successor for this goal; one for another goal is none."""
        ...

    async def clear(self) -> None:
        """Remove every successor, so that the next look finds none."""
        ...

    async def announce(self) -> bool:
        """As a successor, say that we could take over; false when we succeed nobody."""
        ...

    async def finish(self) -> None:
        """As a successor that works for the host now, remove the predecessor; repeatable."""
        ...
