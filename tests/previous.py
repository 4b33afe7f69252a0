"""A client of the release before: what it sends and reads, frozen. Only a new release changes it.

Decoding fails when a field that the old client reads is gone or has another type; it does not look
at fields it never knew.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import httpx
import msgspec

API = "/api/v1"
CONTROL = "/control/v1"
T = TypeVar("T")


class User(msgspec.Struct, frozen=True):
    id: UUID
    email: str
    display_name: str
    created_at: datetime
    updated_at: datetime


class Chat(msgspec.Struct, frozen=True):
    id: UUID
    title: str
    created_at: datetime


class ChatPage(msgspec.Struct, frozen=True):
    items: list[Chat]
    next: UUID | None


class Message(msgspec.Struct, frozen=True):
    id: UUID
    role: Literal["user", "assistant"]
    content: str
    in_reply_to: UUID | None
    created_at: datetime


class ChatDetail(msgspec.Struct, frozen=True):
    id: UUID
    title: str
    created_at: datetime
    messages: list[Message]


class Token(msgspec.Struct, frozen=True):
    text: str


class Done(msgspec.Struct, frozen=True):
    message_id: UUID
    answer_id: UUID
    tokens: int


class Ready(msgspec.Struct, frozen=True):
    status: Literal["ready", "unready", "draining"]
    reason: str | None
    version: str
    digest: str
    config_hash: str
    instance: str
    streams: int
    requests: int


class Health(msgspec.Struct, frozen=True):
    status: Literal["ok", "degraded", "draining"]
    version: str
    digest: str
    config_hash: str
    instance: str
    uptime_s: float
    database: Literal["ok", "down"]
    redis: Literal["ok", "down", "off"]
    schema: str
    streams: int
    event_streams: int
    requests: int
    draining: bool


class FieldFault(msgspec.Struct, frozen=True):
    field: str
    message: str


class Problem(msgspec.Struct, frozen=True):
    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool = False
    errors: tuple[FieldFault, ...] = ()


class Release(msgspec.Struct, frozen=True):
    version: str
    digest: str


class ReleaseView(msgspec.Struct, frozen=True):
    release: Release
    created_by: str
    created_at: float


class Environment(msgspec.Struct, frozen=True):
    name: str
    hosts: tuple[str, ...]
    edges: tuple[str, ...]
    policy: dict[str, Any]
    version: int
    current: Release | None
    previous: Release | None
    active_rollout: str | None
    applied_by: str
    applied_at: float


class Host(msgspec.Struct, frozen=True):
    environment: str
    name: str
    silent: bool
    silent_s: float | None
    settled: bool
    agent_version: str
    images: tuple[str, ...]
    image_errors: tuple[str, ...]


class Event(msgspec.Struct, frozen=True):
    id: int
    environment: str
    rollout: str | None
    kind: str
    message: str
    at: float


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a chat stream as it came."""

    name: str
    data: str
    id: str | None


def read(response: httpx.Response, kind: type[T], status: int = 200) -> T:
    """The body as the old client understands it."""
    assert response.status_code == status, response.text
    return msgspec.json.decode(response.content, type=kind)


async def ask(
    client: httpx.AsyncClient, chat: UUID, content: str, last_event_id: str | None = None
) -> list[StreamEvent]:
    """Say something, or resume; the whole answer."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    body = {"content": content, "token_delay_ms": 0}
    response = await client.post(f"{API}/chats/{chat}/stream", json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return [event for block in response.text.split("\n\n") for event in _events(block)]


def spoken(events: list[StreamEvent]) -> str:
    """The words of an answer."""
    tokens = (event.data for event in events if event.name == "token")
    return "".join(msgspec.json.decode(data, type=Token).text for data in tokens)


def _events(block: str) -> list[StreamEvent]:
    lines = [line for line in block.splitlines() if line and not line.startswith(":")]
    fields = dict(line.split(": ", 1) for line in lines)
    return [StreamEvent(fields["event"], fields["data"], fields.get("id"))] if fields else []
