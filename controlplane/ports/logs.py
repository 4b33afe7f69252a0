"""An instance's log, fetched from the agent of its host while an operator waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogRequest:
    """A question for one host; `id` names where the answer goes."""

    id: str
    slot: int
    lines: int


@dataclass(frozen=True, slots=True)
class LogAnswer:
    """The last lines of a slot, oldest first, or the sentence why there are none."""

    lines: tuple[str, ...] = ()
    error: str = ""


class Logs(Protocol):
    """The asking side, in whoever serves the control API."""

    async def ask(self, host: str, slot: int, lines: int) -> tuple[str, ...]:
        """The last lines of a slot. Raises BusUnavailable, AgentSilent when no answer came in time,
        RuntimeUnavailable when the agent could not read them."""
        ...


class LogRequests(Protocol):
    """The answering side, in the agent of one host. Both raise BusUnavailable."""

    async def next(self) -> LogRequest | None:
        """The oldest question that still waits, or None."""
        ...

    async def answer(self, request: LogRequest, answer: LogAnswer) -> None:
        """Send the answer; nothing happens when nobody waits for it any more."""
        ...
