"""Log requests in memory; the asker waits in real time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

from controlplane.domain.errors import AgentSilent, BusUnavailable, RuntimeUnavailable
from controlplane.ports.logs import LogAnswer, LogRequest


@dataclass
class FakeLogs:
    """Both sides, for all hosts: `requests(host)` is the agent's."""

    patience_s: float = 5.0
    down: bool = False
    waiting: dict[str, list[LogRequest]] = field(default_factory=dict)
    answers: dict[str, asyncio.Future[LogAnswer]] = field(default_factory=dict)
    ids: count[int] = field(default_factory=count)

    async def ask(self, host: str, slot: int, lines: int) -> tuple[str, ...]:
        self.check()
        request = LogRequest(str(next(self.ids)), slot, lines)
        self.waiting.setdefault(host, []).append(request)
        self.answers[request.id] = asyncio.get_running_loop().create_future()
        try:
            answer = await asyncio.wait_for(self.answers[request.id], self.patience_s)
        except TimeoutError:
            raise AgentSilent(f"The agent of {host} did not answer.") from None
        if answer.error:
            raise RuntimeUnavailable(answer.error)
        return answer.lines

    def requests(self, host: str) -> FakeLogRequests:
        return FakeLogRequests(self, host)

    def check(self) -> None:
        if self.down:
            raise BusUnavailable("Redis did not answer; start it again and retry.")


@dataclass
class FakeLogRequests:
    logs: FakeLogs
    host: str

    async def next(self) -> LogRequest | None:
        self.logs.check()
        waiting = self.logs.waiting.get(self.host)
        return waiting.pop(0) if waiting else None

    async def answer(self, request: LogRequest, answer: LogAnswer) -> None:
        self.logs.check()
        future = self.logs.answers.get(request.id)
        if future is not None and not future.done():
            future.set_result(answer)
