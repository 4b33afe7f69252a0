"""What one user, or all of them at once, may take of an instance and of the storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.fakes.models import fake_models, variables
from tests.projects import made
from tests.service import client_of, problem, settings
from tests.waiting import eventually

API = "/api/v1"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10


@asynccontextmanager
async def client_with(
    url: str, folder: Path, **limits: str
) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with client_of(settings(url, STORAGE_URL=f"file://{folder}", **limits)) as client:
        yield client


async def upload(
    client: httpx.AsyncClient, project: str, content: bytes | AsyncGenerator[bytes, None] = PNG
) -> httpx.Response:
    path = f"{API}/projects/{project}/files"
    return await client.post(path, params={"name": "a.png"}, content=content)


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def gated(begun: asyncio.Event, gate: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """A file whose end waits for the gate; without a length that tells how much it is."""
    yield PNG[:100]
    begun.set()
    await gate.wait()
    yield PNG[100:]


async def test_streams_of_a_user_are_limited_whatever_they_tell(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake:
        fake.silent_after = 1
        given = variables("openai", fake) | {
            "STREAMS_PER_USER": "2",
            "LLM_TOKEN_TIMEOUT_S": "2",
            "RUN_WORKERS": "0",
        }
        async with client_of(settings(migrated_database_url, **given)) as client:
            chat = (await client.post(f"{API}/chats", json={})).json()["id"]
            work = {"kind": "echo", "input": {"text": "x"}}
            run = (await client.post(f"{API}/runs", json=work)).json()["id"]
            path, said = f"{API}/chats/{chat}/stream", {"content": "x"}
            telling = asyncio.create_task(client.post(path, json=said))
            watching = asyncio.create_task(client.get(f"{API}/runs/{run}/events"))
            lifecycle = client.app.state.lifecycle  # type: ignore[attr-defined]
            assert await eventually(
                lambda: (lifecycle.chat_streams, lifecycle.event_streams) == (1, 1)
            )
            resumed = {"last-event-id": f"{uuid4()}:@0"}
            for refused in (
                await client.post(path, json=said),
                await client.post(path, json=said, headers=resumed),
                await client.get(f"{API}/runs/{run}/events"),
            ):
                assert problem(refused) == (429, "too_many_streams")
                assert int(refused.headers["retry-after"]) > 0
            await client.post(f"{API}/runs/{run}/cancel")
            assert (await watching).status_code == (await telling).status_code == 200
            assert (await client.get(f"{API}/runs/{run}/events")).status_code == 200
            shown = (await client.get(f"{API}/chats/{chat}")).json()["messages"]
            assert [message["role"] for message in shown] == ["user", "assistant"]


async def test_stream_that_never_begins_takes_no_place(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, STREAMS_PER_USER="1")) as client:
        for _ in range(3):
            nothing = await client.post(f"{API}/chats/{uuid4()}/stream", json={"content": "x"})
            assert problem(nothing) == (404, "chat_not_found")
            assert problem(await client.get(f"{API}/runs/{uuid4()}/events"))[0] == 404


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        ({"UPLOADS_PER_USER": "1"}, (429, "too_many_uploads")),
        ({"UPLOADS_MAX": "1"}, (503, "uploads_busy")),
    ],
)
async def test_uploads_at_once_are_limited(
    migrated_database_url: str,
    tmp_path: Path,
    limits: dict[str, str],
    refusal: tuple[int, str],
) -> None:
    async with client_with(migrated_database_url, tmp_path, **limits) as client:
        project = await made(client)
        begun, gate = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(upload(client, project, gated(begun, gate)))
        await begun.wait()
        refused = await upload(client, project)
        assert problem(refused) == refusal
        assert refused.headers["retry-after"] == "5"
        gate.set()
        assert (await first).status_code == 201
        assert problem(await upload(client, project, b"")) == (400, "file_empty")
        assert (await upload(client, project)).status_code == 201


async def test_project_keeps_no_more_than_its_quota(
    migrated_database_url: str, tmp_path: Path
) -> None:
    quota = {"PROJECT_QUOTA_BYTES": str(2 * len(PNG) + 10)}
    async with client_with(migrated_database_url, tmp_path, **quota) as client:
        project, other = await made(client), await made(client)
        first = await upload(client, project)
        begun, gate = [asyncio.Event(), asyncio.Event()], asyncio.Event()
        both = [asyncio.create_task(upload(client, project, gated(event, gate))) for event in begun]
        for event in begun:
            await event.wait()
        gate.set()
        statuses = sorted([(await task).status_code for task in both])
        assert statuses == [201, 413]
        refused = await upload(client, project)
        assert problem(refused) == (413, "project_quota_exceeded")
        assert "Delete files" in refused.json()["detail"]
        assert len(kept(tmp_path)) == 2
        assert (await upload(client, other)).status_code == 201
        path = f"{API}/projects/{project}/files/{first.json()['id']}"
        assert (await client.delete(path)).status_code == 204
        assert (await upload(client, project)).status_code == 201
