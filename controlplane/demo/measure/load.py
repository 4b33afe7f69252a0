"""A constant open load on camp, in a process of its own: `python -m …measure.load URL`.

Open: requests arrive by a schedule whether or not earlier ones were answered, and a latency
counts from the scheduled arrival, so that a stall shows in full. Nothing is ever sent twice:
every answer but 2xx and every broken connection is a failed request.

One line of JSON (Status) a quarter of a second on stdout. The byte `s` on stdin ends it in good
order: no new arrivals, open streams run to their end. End of file ends it at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from controlplane.demo.measure.http1 import Broken, Http
from controlplane.demo.measure.streams import Cut, follow

REQUEST_TIMEOUT_S = 10.0
REPORT_INTERVAL_S = 0.25
WINDOW_S = 5.0
FAILURES_KEPT = 100
# Words a stream says, and the pause before each: 8.2 to 10.2 s for one answer.
STREAM_WORDS = 40
STREAM_DELAYS_MS = range(205, 256)
CHAT_IDS_KEPT = 200
WORDS = ("pitch", "tent", "fire", "river", "trail", "lantern", "map", "kettle", "compass", "moss")
ROUTES = {
    "GET /": 15,
    "GET /health": 10,
    "GET /api/v1/users/me": 25,
    "PATCH /api/v1/users/me": 10,
    "POST /api/v1/chats": 10,
    "GET /api/v1/chats": 15,
    "GET /api/v1/chats/{id}": 15,
}


class Failed(msgspec.Struct, frozen=True):
    """One request or stream that did not go well; `at` is epoch seconds."""

    at: float
    route: str
    error: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What happened so far; `rps` and `recent_p99_ms` are about the last seconds.

    `fewest_open` is the least number of streams that stood at once, from the moment when all
    did until the load was told to end.
    """

    elapsed_s: float
    requests: int
    failed: int
    rps: float
    recent_p99_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    streams: int
    open: int
    fewest_open: int
    cut: int
    resumed: int
    failures: tuple[Failed, ...]
    final: bool = False


@dataclass(slots=True)
class Tally:
    """The counters; latencies in seconds."""

    started: float = field(default_factory=time.monotonic)
    latencies: list[float] = field(default_factory=list)
    recent: deque[tuple[float, float]] = field(default_factory=deque)
    failed: int = 0
    streams: int = 0
    open: int = 0
    fewest_open: int | None = None
    cut: int = 0
    resumed: int = 0
    failures: list[Failed] = field(default_factory=list)

    def answered(self, due: float) -> None:
        now = time.monotonic()
        self.latencies.append(now - due)
        self.recent.append((now, now - due))

    def fail(self, route: str, error: str) -> None:
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(Failed(time.time(), route, error))

    def status(self, *, final: bool = False) -> Status:
        now = time.monotonic()
        while self.recent and self.recent[0][0] < now - WINDOW_S:
            self.recent.popleft()
        recent = sorted(latency for _, latency in self.recent)
        everything = sorted(self.latencies) if final else recent
        elapsed = now - self.started
        return Status(
            elapsed_s=elapsed,
            requests=len(self.latencies),
            failed=self.failed,
            rps=len(recent) / min(WINDOW_S, max(elapsed, REPORT_INTERVAL_S)),
            recent_p99_ms=percentile_ms(recent, 99),
            p50_ms=percentile_ms(everything, 50),
            p99_ms=percentile_ms(everything, 99),
            max_ms=percentile_ms(everything, 100),
            streams=self.streams,
            open=self.open,
            fewest_open=self.fewest_open or 0,
            cut=self.cut,
            resumed=self.resumed,
            failures=tuple(self.failures),
            final=final,
        )


def percentile_ms(ordered: list[float], per_cent: int) -> float:
    """The smallest value that so many per cent do not exceed, in ms; 0 without values."""
    if not ordered:
        return 0.0
    return round(1000 * ordered[max(0, -(-len(ordered) * per_cent // 100) - 1)], 1)


class Load:
    """Arrivals at `rate` a second and `streams` chat streams, each followed by the next one."""

    def __init__(self, http: Http, rate: float, streams: int) -> None:
        self.tally = Tally()
        self._http = http
        self._rate = rate
        self._streams = streams
        self._stop = asyncio.Event()
        # The same mix in every run; not for secrets.
        self._random = random.Random(7)  # noqa: S311
        self._chats: deque[str] = deque(maxlen=CHAT_IDS_KEPT)

    def stop(self) -> None:
        """No new arrivals and no new streams."""
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`, and then until everything under way has ended."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._streams):
                group.create_task(self._converse())
            if self._rate > 0:
                group.create_task(self._arrive(group))

    async def _arrive(self, group: asyncio.TaskGroup) -> None:
        begun, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = begun + number / self._rate
            number += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(self._request(self._route(), due))

    def _route(self) -> str:
        return self._random.choices(tuple(ROUTES), tuple(ROUTES.values()))[0]

    async def _request(self, route: str, due: float) -> str:
        """Send one request; the id in its answer, if that was a new chat."""
        method, _, path = route.partition(" ")
        if "{id}" in path:
            if not self._chats:
                route, path = "GET /api/v1/chats", "/api/v1/chats"
            else:
                path = path.replace("{id}", self._random.choice(self._chats))
        body = {"POST": {"title": "demo"}, "PATCH": {"display_name": f"Camper {due:.0f}"}}
        fault = chat = ""
        try:
            status, content = await self._http.request(
                method, path, body.get(method), REQUEST_TIMEOUT_S
            )
            if not 200 <= status < 300:
                fault = f"{status}: {content[:200].decode(errors='replace')}"
            elif method == "POST":
                chat = str(msgspec.json.decode(content)["id"])
        except Broken as broken:
            fault = str(broken)
        self.tally.answered(due)
        if fault:
            self.tally.failed += 1
            self.tally.fail(route, fault)
        elif chat:
            self._chats.append(chat)
        return chat

    async def _converse(self) -> None:
        """One stream after the other; the chat for the next is opened meanwhile."""
        chat = await self._open_chat()
        while not self._stop.is_set():
            upcoming = asyncio.create_task(self._open_chat())
            if chat:
                await self._stream(f"/api/v1/chats/{chat}/stream")
            chat = await upcoming

    async def _open_chat(self) -> str:
        return await self._request("POST /api/v1/chats", time.monotonic())

    async def _stream(self, path: str) -> None:
        tally = self.tally
        prompt = " ".join(self._random.choices(WORDS, k=STREAM_WORDS))
        tally.streams += 1
        try:
            delay_ms = self._random.choice(STREAM_DELAYS_MS)
            tally.resumed += await follow(self._http, path, prompt, delay_ms, self._standing)
        except Cut as cut:
            tally.cut += 1
            tally.fail("POST /api/v1/chats/{id}/stream", str(cut))

    @contextmanager
    def _standing(self) -> Iterator[None]:
        tally = self.tally
        tally.open += 1
        if tally.open == self._streams and tally.fewest_open is None:
            tally.fewest_open = tally.open
        try:
            yield
        finally:
            tally.open -= 1
            if tally.fewest_open is not None and not self._stop.is_set():
                tally.fewest_open = min(tally.fewest_open, tally.open)


async def report(load: Load) -> None:
    """A status line now and then, for ever."""
    while True:
        say(load.tally.status())
        await asyncio.sleep(REPORT_INTERVAL_S)


def say(status: Status) -> None:
    sys.stdout.write(msgspec.json.encode(status).decode() + "\n")
    sys.stdout.flush()


async def ordered_to_stop() -> bool:
    """Wait for a word on stdin; false when it was closed instead."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return await reader.read(1) != b""


async def drive(url: str, token: str, rate: float, streams: int) -> None:
    """Load `url` until stdin says to end it, then say the final status."""
    where = urlsplit(url)
    http = Http(where.hostname or "", where.port or 80, {"authorization": f"Bearer {token}"})
    load = Load(http, rate, streams)
    running = asyncio.create_task(load.run())
    reporting = asyncio.create_task(report(load))
    ordered = asyncio.create_task(ordered_to_stop())
    await asyncio.wait({running, reporting, ordered}, return_when=asyncio.FIRST_COMPLETED)
    if ordered.done() and not ordered.result():
        running.cancel()
    load.stop()
    await asyncio.wait({running})
    reporting.cancel()
    ordered.cancel()
    if not running.cancelled():
        running.result()
        say(load.tally.status(final=True))
    http.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m controlplane.demo.measure.load")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--streams", type=int, default=20, help="chat streams open at once")
    parser.add_argument(
        "--token",
        default=os.environ.get("DEV_MOCK_TOKEN", "camp-dev-token"),
        help="bearer token of the service; or DEV_MOCK_TOKEN",
    )
    given = parser.parse_args()
    import signal

    import uvloop

    # Ctrl-C in the terminal is for who started us to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(drive(given.url, given.token, given.rate, given.streams))


if __name__ == "__main__":
    main()
