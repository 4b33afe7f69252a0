"""Answering for logs, beside the agent's look: an engine that is slow to read must not stop it."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.errors import RuntimeUnavailable
from controlplane.domain.reports import MAX_LOG_LINES
from controlplane.ports.logs import LogAnswer, LogRequest, LogRequests
from controlplane.ports.runtime import Runtime

IDLE_S = 30.0
MAX_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class LogReader:
    """Who reads the logs of one host's slots for others."""

    requests: LogRequests
    runtime: Runtime

    async def tick(self) -> float:
        """Answer all that was asked. Returns the seconds until the next look without a nudge."""
        while (request := await self.requests.next()) is not None:
            await self.requests.answer(request, await self._read(request))
        return IDLE_S

    async def _read(self, request: LogRequest) -> LogAnswer:
        try:
            lines = await self.runtime.logs(request.slot, min(request.lines, MAX_LOG_LINES))
        except RuntimeUnavailable as error:
            return LogAnswer(error=error.sentence)
        return LogAnswer(bounded(lines))


def bounded(lines: tuple[str, ...], limit_bytes: int = MAX_BYTES) -> tuple[str, ...]:
    """The last of these lines that fit; one that is longer by itself keeps its end."""
    kept: list[str] = []
    for line in reversed(lines):
        size = len(line.encode()) + 1
        if size > limit_bytes:
            if not kept:
                kept.append(line.encode()[-limit_bytes:].decode("utf-8", "ignore"))
            break
        limit_bytes -= size
        kept.append(line)
    return tuple(reversed(kept))
