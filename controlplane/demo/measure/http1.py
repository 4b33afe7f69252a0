"""A lean HTTP/1.1 client for the load: one origin, kept-alive connections, nothing ever repeated.

The load shares two cores with six instances. httpx, used everywhere else, takes 2.4 ms of a core
per request here (40 % of one core at 160 requests/s and 22 streams); this takes a quarter of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httptools
import msgspec

CONNECT_TIMEOUT_S = 5.0


class Broken(Exception):
    """No complete answer: the connection failed, or nothing came in time."""


class Response:
    """An answer whose head has arrived; its body may still be on its way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status = connection.parser.get_status_code()

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    async def chunks(self, silence_s: float) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Broken when it breaks off or is silent for too long."""
        while (chunk := await self._connection.chunk(silence_s)) is not None:
            yield chunk

    async def body(self, timeout_s: float) -> bytes:
        return b"".join([chunk async for chunk in self.chunks(timeout_s)])


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.reusable = False
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[None] | None = None
        # Chunks of the body, None behind the last, Broken where it broke off.
        self._chunks: asyncio.Queue[bytes | Broken | None] = asyncio.Queue()

    async def send(self, head_and_body: bytes, timeout_s: float) -> Response:
        """Send a request and wait for the head of its answer."""
        assert self._transport is not None
        self.parser = httptools.HttpResponseParser(self)
        self.reusable = False
        self._chunks = asyncio.Queue()
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(head_and_body)
        try:
            async with asyncio.timeout(timeout_s):
                await self._head
        except TimeoutError:
            raise Broken(f"no answer within {timeout_s:g} s") from None
        return Response(self)

    async def chunk(self, timeout_s: float) -> bytes | None:
        """The next part of the body; None at its end."""
        try:
            async with asyncio.timeout(timeout_s):
                item = await self._chunks.get()
        except TimeoutError:
            raise Broken(f"silent for {timeout_s:g} s") from None
        if isinstance(item, Broken):
            raise item
        return item

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"not HTTP: {error}")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self.reusable:
            self._break(f"connection closed{f' ({error})' if error else ''}")

    def _break(self, reason: str) -> None:
        broken = Broken(reason)
        if self._head is not None and not self._head.done():
            self._head.set_exception(broken)
        self._chunks.put_nowait(broken)

    # What the parser calls.

    def on_headers_complete(self) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._chunks.put_nowait(body)

    def on_message_complete(self) -> None:
        self.reusable = self.parser.should_keep_alive()
        self._chunks.put_nowait(None)


class Http:
    """Requests to one origin; `headers` go with each of them."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self._host, self._port = host, port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._idle: list[Connection] = []

    async def request(
        self, method: str, path: str, body: object, timeout_s: float
    ) -> tuple[int, bytes]:
        """Status and body. Raises Broken."""
        async with self.stream(method, path, body, timeout_s) as response:
            return response.status, await response.body(timeout_s)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: object,
        timeout_s: float,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[Response]:
        """The answer once its head is there. Raises Broken."""
        connection = await self._connection()
        try:
            yield await connection.send(self._encode(method, path, body, headers), timeout_s)
        finally:
            if connection.reusable and not connection.closed:
                self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(Connection, self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise Broken(f"cannot connect: {str(error) or type(error).__name__}") from error
        return connection

    def _encode(
        self, method: str, path: str, body: object, headers: dict[str, str] | None
    ) -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        content = b"" if body is None else msgspec.json.encode(body)
        if body is not None:
            more += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        host = f"host: {self._host}:{self._port}\r\n"
        return f"{method} {path} HTTP/1.1\r\n{host}{self._headers}{more}\r\n".encode() + content
