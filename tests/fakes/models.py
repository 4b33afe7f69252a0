"""A server that speaks the streams of Anthropic's Messages and OpenAI's Chat Completions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeModels:
    """What it does next, and what it saw."""

    url: str = ""
    tokens: list[str] = field(default_factory=lambda: ["Good", " day", " ☀"])
    refusals: list[int] = field(default_factory=list)
    """Statuses it answers with before it answers well."""
    silent_after: int | None = None
    """Say nothing more after so many tokens, and wait for the client to leave."""
    cut_after: int | None = None
    """Close the connection after so many tokens."""
    overloaded: bool = False
    """An error in place of the first token, inside the stream."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    left: int = 0
    """Clients that went away in the middle."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        path = head.split()[1]
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.requests.append(json.loads(await reader.readexactly(length)))
        self.paths.append(path)
        if self.refusals:
            status = self.refusals.pop(0)
            writer.write(
                f"HTTP/1.1 {status} No\r\nretry-after-ms: 5\r\ncontent-type: application/json\r\n"
                "content-length: 22\r\n\r\n".encode()
                + b'{"error":{"type":"x"}}'
            )
            return True
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"connection: close\r\n\r\n")
        await self._speak(anthropic if "messages" in path else openai, reader, writer)
        return False

    async def _speak(
        self, say: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.overloaded:
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
            writer.write(b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n")
            return
        spoken = 0
        for piece, is_token in say(self.tokens):
            if is_token and spoken == self.silent_after:
                await writer.drain()
                await reader.read()  # ends when the client leaves
                self.left += 1
                return
            if is_token and spoken == self.cut_after:
                return
            spoken += is_token
            writer.write(piece)
        await writer.drain()


def anthropic(tokens: list[str]) -> Iterator[tuple[bytes, bool]]:
    usage = {"input_tokens": 11, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m"}
    yield _event("message_start", message={**message, "usage": usage}), False
    block = {"type": "text", "text": ""}
    yield _event("content_block_start", index=0, content_block=block), False
    yield _event("ping"), False
    for token in tokens:
        delta = {"type": "text_delta", "text": token}
        yield _event("content_block_delta", index=0, delta=delta), True
    yield _event("content_block_stop", index=0), False
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event("message_delta", delta=ended, usage={"output_tokens": 7}), False
    yield _event("message_stop"), False


def openai(tokens: list[str]) -> Iterator[tuple[bytes, bool]]:
    yield _chunk([]), False  # as Azure's, with the results of its filters
    yield _chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}}]), False
    for token in tokens:
        yield _chunk([{"index": 0, "delta": {"content": token}}]), True
    yield _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]), False
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    yield _chunk([], usage=usage), False
    yield b"data: [DONE]\n\n", False


def _event(name: str, **data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _chunk(choices: list[dict[str, object]], **more: object) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n".encode()


@asynccontextmanager
async def fake_models() -> AsyncIterator[FakeModels]:
    """One on a loopback port, until the block ends."""
    fake = FakeModels()
    server = await asyncio.start_server(fake.answer, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()


def variables(provider: str, fake: FakeModels) -> dict[str, str]:
    """The environment that makes the service ask this server."""
    chosen = {"LLM_PROVIDER": provider, "LLM_MODEL": "m-1", "ANTHROPIC_BASE_URL": fake.url}
    keys = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY")
    urls = {"OPENAI_BASE_URL": f"{fake.url}/v1", "AZURE_OPENAI_ENDPOINT": fake.url}
    return chosen | dict.fromkeys(keys, "key") | urls
