"""Whether this instance drains, and what it still has to finish."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """Counts the work in flight and carries the two signals of a drain.

    `draining` is set when the drain starts: readiness turns 503 and event streams end with
    `event: draining`. `expired` is set at the deadline: chat streams end the same way.
    A stream that lives long enters `event_stream()` (ends at `draining`) or `chat_stream()`
    (ends at `expired`) for as long as it runs, and waits for its signal beside its own work.
    Everything here belongs to one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.draining = asyncio.Event()
        self.expired = asyncio.Event()
        self.chat_streams = 0
        self.event_streams = 0
        self.deadline = math.inf
        self._clock = clock
        self._started_at = clock()
        self._in_flight = 0
        self._busy_at = self._started_at
        self._timer: asyncio.TimerHandle | None = None

    @property
    def requests(self) -> int:
        """Requests in flight that are neither probes nor streams."""
        return max(0, self._in_flight - self.chat_streams - self.event_streams)

    @property
    def idle(self) -> bool:
        """True when nothing is left that a stop would cut."""
        return not (self._in_flight or self.chat_streams or self.event_streams)

    @property
    def quiet_s(self) -> float:
        """How long a drain has gone on with nothing left to finish; 0 without a drain."""
        if not self.draining.is_set() or not self.idle:
            return 0.0
        return self._clock() - self._busy_at

    @property
    def uptime_s(self) -> float:
        return self._clock() - self._started_at

    def drain(self, deadline_s: float) -> None:
        """Start the drain, or shorten a running one: of several deadlines the earliest counts."""
        if not self.draining.is_set():
            self.draining.set()
            self._busy_at = self._clock()
        deadline = self._clock() + deadline_s
        if deadline >= self.deadline:
            return
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(deadline_s, self.expired.set)

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request in flight; a stream is counted here and in its own kind."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._busy_at = self._clock()

    @contextmanager
    def chat_stream(self) -> Iterator[None]:
        """One chat stream; it runs on while draining and must end when `expired` is set."""
        self.chat_streams += 1
        try:
            yield
        finally:
            self.chat_streams -= 1

    @contextmanager
    def event_stream(self) -> Iterator[None]:
        """One stream of events; it must send `event: draining` and end when `draining` is set."""
        self.event_streams += 1
        try:
            yield
        finally:
            self.event_streams -= 1
