"""A tiny HTTP/1.1 server for tests of an edge: keep-alive, event streams, sudden death."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Self

IDLE_S = 5.0  # uvicorn's default


class Backend:
    """Counts what it is asked, by `METHOD path`.

    `/stream/N` sends one event and, once `go_on` is set, the other N - 1.
    `/drop` reads the request and closes without an answer.
    `table` is what the last request said in X-Camp-Table. `healthy` decides on /health/live.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.table = ""
        self.healthy = True
        self.streams = 0
        self.go_on = asyncio.Event()
        self.largest_body = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Listen; after a kill again on the same port."""
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def kill(self) -> None:
        """Stop listening and cut every connection, as SIGKILL does."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def requests(self) -> int:
        """How many requests came, health checks left out."""
        return sum(n for what, n in self.seen.items() if "/health" not in what)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        except asyncio.CancelledError:
            return  # the loop ends; asyncio would log an error of its own if this were raised
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(IDLE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.largest_body = max(self.largest_body, len(body))
        self.seen[f"{method} {path}"] += 1
        if path == "/drop":
            return False
        if path.startswith("/health"):
            writer.write(_response("200 OK" if self.healthy else "503 Service Unavailable"))
            return True
        self.table = headers.get("x-camp-table", "")
        if path.startswith("/stream/"):
            await self._stream(writer, int(path.rpartition("/")[2]))
            return True
        writer.write(_response("200 OK"))
        return True

    async def _stream(self, writer: asyncio.StreamWriter, events: int) -> None:
        self.streams += 1
        kind = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + kind)
        try:
            for number in range(events):
                event = b"data: %d\n\n" % number
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                await writer.drain()
                await self.go_on.wait()
            writer.write(b"0\r\n\r\n")
        finally:
            self.streams -= 1


def _response(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok".encode()
