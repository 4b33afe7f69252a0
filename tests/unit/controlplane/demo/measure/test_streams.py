"""What counts as a whole stream, against a server that misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest

from controlplane.demo.measure.http1 import Broken, Http
from controlplane.demo.measure.streams import Cut, follow

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
DONE = b"event: done\ndata: {}\n\n"
DRAINING = b"event: draining\ndata: {}\n\n"


def stream(*events: bytes) -> bytes:
    """A whole answer, one chunk an event."""
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(e), e) for e in events) + END


def token(number: int, text: str, question: str = "q") -> bytes:
    return f'id: {question}:{number}\nevent: token\ndata: {{"text": "{text}"}}\n\n'.encode()


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[Http, list[str]]]:
    """A server that gives each request the next of these bytes, and the requests it got."""
    left, requests = list(answers), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        requests.append(head)
        length = next((x for x in head.split("\r\n") if x.startswith("content-length")), ": 0")
        await reader.readexactly(int(length.partition(": ")[2]))
        writer.write(left.pop(0))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    http = Http("127.0.0.1", server.sockets[0].getsockname()[1], {"authorization": "Bearer t"})
    async with server:
        yield http, requests
    http.close()


async def read(http: Http) -> int:
    return await follow(http, "/stream", "one two", 0, nullcontext)


async def test_whole_answer_is_no_resumption() -> None:
    answer = stream(token(0, "one"), b": heartbeat\n\n", token(1, " two"), DONE)
    async with answering(answer) as (http, _):
        assert await read(http) == 0


async def test_draining_is_resumed_behind_the_last_token() -> None:
    first, second = stream(token(0, "one"), DRAINING), stream(token(1, " two"), DONE)
    async with answering(first, second) as (http, requests):
        assert await read(http) == 1
        assert "last-event-id: q:0" in requests[1]
        assert "last-event-id" not in requests[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (stream(token(0, "one")).removesuffix(END), "after 1 tokens: connection closed"),
        (stream(token(0, "one")), "ended after 1 tokens without done"),
        (stream(token(0, "one"), DONE), "done after 3 of 7 characters"),
        (stream(token(0, "one"), token(2, " two"), DONE), "token q:2 came where q:1 was due"),
        (stream(token(0, "one"), token(1, " two", "p"), DONE), "p:1 came where q:1"),
        (stream(b'event: error\ndata: {"code": "x"}\n\n'), "event error"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy", "503 after 0 tokens: busy"),
        (b"", "connection closed"),
    ],
)
async def test_anything_less_is_cut(answer: bytes, reason: str) -> None:
    async with answering(answer) as (http, _):
        with pytest.raises(Cut, match=reason):
            await read(http)


async def test_connection_that_breaks_off_is_no_answer() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf") as (http, _):
        with pytest.raises(Broken, match="connection closed"):
            await http.request("GET", "/", None, 5.0)


async def test_nobody_listening_is_told() -> None:
    with pytest.raises(Broken, match="cannot connect"):
        await Http("127.0.0.1", 1, {}).request("GET", "/", None, 5.0)


async def test_silence_is_not_waited_for_forever() -> None:
    silent = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        http = Http("127.0.0.1", server.sockets[0].getsockname()[1], {})
        with pytest.raises(Broken, match="no answer within"):
            await http.request("GET", "/", None, 0.05)
        silent.set()
