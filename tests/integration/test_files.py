"""Files on a real PostgreSQL and a folder; over HTTP where the connection matters."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import psutil
import pytest
from click.testing import CliRunner

from camp.database.engine import build_sessions
from camp.files.commands import files as files_command
from camp.files.owner import this_database
from camp.files.storage import ObjectStorage
from camp.files.sweep import Permission, sweep
from controlplane.adapters.postgres.engine import open_engine
from controlplane.schema.runner import upgrade
from tests.issuers import Issuer
from tests.projects import become, made, plain
from tests.service import USER, problem, running
from tests.waiting import eventually

PROJECTS = "/api/v1/projects"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10
LIMIT = 100_000
LATER = timedelta(hours=1)


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def upload(
    client: httpx.AsyncClient,
    project: str,
    content: bytes | AsyncIterator[bytes] = PNG,
    kind: str = "image/png",
    name: str = "chart.png",
) -> httpx.Response:
    return await client.post(
        f"{PROJECTS}/{project}/files",
        params={"name": name},
        content=content,
        headers={"content-type": kind},
    )


async def uploaded(client: httpx.AsyncClient, project: str, name: str = "chart.png") -> str:
    response = await upload(client, project, name=name)
    assert response.status_code == 201, response.text
    return f"{PROJECTS}/{project}/files/{response.json()['id']}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
async def client(
    issuer: Issuer, migrated_database_url: str, folder: Path
) -> AsyncIterator[httpx.AsyncClient]:
    given = {"STORAGE_URL": f"file://{folder}", "FILE_MAX_BYTES": str(LIMIT)}
    async with plain(issuer, migrated_database_url, **given) as made_client:
        yield made_client


async def test_file_comes_back_as_it_was(client: httpx.AsyncClient) -> None:
    project = await made(client)
    response = await upload(client, project, name="Bericht für 日本.png")
    body = response.json()
    assert (body["size"], body["sha256"]) == (len(PNG), hashlib.sha256(PNG).hexdigest())
    assert response.headers["location"] == f"{PROJECTS}/{project}/files/{body['id']}"
    assert (await client.get(response.headers["location"])).json() == body
    content = await client.get(f"{response.headers['location']}/content")
    assert (content.content, content.headers["content-type"]) == (PNG, "image/png")
    assert content.headers["content-length"] == str(len(PNG))
    assert content.headers["x-content-type-options"] == "nosniff"
    assert content.headers["content-disposition"].startswith("attachment; ")
    listed = (await client.get(f"{PROJECTS}/{project}/files", params={"search": "日"})).json()
    assert (listed["items"], listed["total"]) == ([body], 1)


async def test_part_of_a_file_is_a_206_and_its_tag_a_304(client: httpx.AsyncClient) -> None:
    where = await uploaded(client, await made(client)) + "/content"
    part = await client.get(where, headers={"range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, bytes(range(8)))
    assert part.headers["content-range"] == f"bytes 8-15/{len(PNG)}"
    tag = part.headers["etag"]
    stale = await client.get(where, headers={"range": "bytes=0-1", "if-range": '"old"'})
    assert (stale.status_code, stale.content) == (200, PNG)
    known = await client.get(where, headers={"if-none-match": tag})
    assert (known.status_code, known.content) == (304, b"")
    beyond = await client.get(where, headers={"range": f"bytes={len(PNG)}-"})
    assert problem(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(PNG)}"


async def test_file_over_the_limit_is_refused_before_it_is_read(
    client: httpx.AsyncClient, folder: Path
) -> None:
    project = await made(client)
    announced = await upload(client, project, PNG + b"\x00" * LIMIT)
    assert problem(announced) == (413, "file_too_large")

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield PNG
        for _ in range(200):
            yield b"\x00" * 1000

    assert problem(await upload(client, project, chunks())) == (413, "file_too_large")
    assert kept(folder) == []
    assert (await client.get(f"{PROJECTS}/{project}/files")).json()["total"] == 0


@pytest.mark.parametrize(
    ("content", "kind", "name", "expected"),
    [
        (b"MZ\x90\x00" * 9, "image/png", "a.png", (415, "file_type_refused")),
        (b"<script>", "text/html", "a.html", (415, "file_type_refused")),
        (b"", "image/png", "a.png", (400, "file_empty")),
        (PNG, "image/png", "../a", (400, "validation_failed")),
        (PNG, "image/png", "a\x00b", (400, "validation_failed")),
        (PNG, "image/png", "a\r\nb", (400, "validation_failed")),
        (PNG, "image/png", "", (400, "validation_failed")),
    ],
)
async def test_what_is_no_proper_file_is_refused(
    client: httpx.AsyncClient,
    folder: Path,
    *,
    content: bytes,
    kind: str,
    name: str,
    expected: tuple[int, str],
) -> None:
    assert problem(await upload(client, await made(client), content, kind, name)) == expected
    assert kept(folder) == []


async def test_file_in_a_form_is_kept_as_if_it_were_the_body(client: httpx.AsyncClient) -> None:
    project = await made(client)
    path = f"{PROJECTS}/{project}/files"
    form = {"files": {"file": ("Bericht für 日本.png", PNG, "image/png")}, "data": {"note": "x"}}
    for params, name in ({}, "Bericht für 日本.png"), ({"name": "b.png"}, "b.png"):
        response = await client.post(path, params=params, **form)  # type: ignore[arg-type]
        body = response.json()
        assert (response.status_code, body["name"], body["media_type"]) == (201, name, "image/png")
        assert (body["size"], body["sha256"]) == (len(PNG), hashlib.sha256(PNG).hexdigest())
        content = await client.get(f"{response.headers['location']}/content")
        assert content.content == PNG


@pytest.mark.parametrize(
    ("part", "file", "expected"),
    [
        ("other", ("a.png", PNG, "image/png"), (400, "form_invalid")),
        ("file", ("a/b.png", PNG, "image/png"), (400, "file_name_invalid")),
        ("file", (None, PNG, "image/png"), (400, "file_name_invalid")),
        ("file", ("a.png", b"", "image/png"), (400, "file_empty")),
        ("file", ("a.png", PNG, "application/pdf"), (415, "file_type_refused")),
        ("file", ("a.png", PNG + b"\x00" * LIMIT, "image/png"), (413, "file_too_large")),
    ],
)
async def test_form_without_a_proper_file_is_refused(
    client: httpx.AsyncClient,
    folder: Path,
    part: str,
    file: tuple[str | None, bytes, str],
    expected: tuple[int, str],
) -> None:
    path = f"{PROJECTS}/{await made(client)}/files"
    assert problem(await client.post(path, files={part: file})) == expected
    assert kept(folder) == []


async def test_raw_body_needs_a_name(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{PROJECTS}/{await made(client)}/files", content=PNG)
    assert problem(response) == (400, "file_name_invalid")
    assert "?name=" in response.json()["detail"]


async def test_roles_say_who_reads_uploads_and_deletes(client: httpx.AsyncClient) -> None:
    may = {"VIEWER": (403, 200, 403), "MEMBER": (201, 200, 403), "MODERATOR": (201, 200, 204)}
    for role, expected in may.items():
        project = await made(client)
        where = await uploaded(client, project)
        await become(client, project, role)
        seen = (
            (await upload(client, project)).status_code,
            (await client.get(f"{where}/content")).status_code,
            (await client.delete(where)).status_code,
        )
        assert (role, seen) == (role, expected)


async def test_strangers_find_nothing(client: httpx.AsyncClient) -> None:
    project, other = await made(client), await made(client)
    where = await uploaded(client, project)
    elsewhere = where.replace(project, other)
    assert problem(await client.get(elsewhere)) == (404, "file_not_found")
    assert problem(await client.delete(elsewhere)) == (404, "file_not_found")
    await become(client, project, None)
    attempts = [
        await upload(client, project),
        await client.get(f"{PROJECTS}/{project}/files"),
        await client.get(where),
        await client.get(f"{where}/content"),
        await client.delete(where),
        await upload(client, str(uuid4())),
    ]
    assert {problem(response) for response in attempts} == {(404, "project_not_found")}


async def test_deleted_file_leaves_nothing(client: httpx.AsyncClient, folder: Path) -> None:
    where = await uploaded(client, await made(client))
    assert len(kept(folder)) == 1
    assert (await client.delete(where)).status_code == 204
    assert kept(folder) == []
    assert problem(await client.get(f"{where}/content")) == (404, "file_not_found")


async def test_lost_content_is_told(client: httpx.AsyncClient, folder: Path) -> None:
    where = await uploaded(client, await made(client))
    kept(folder)[0].unlink()
    assert problem(await client.get(f"{where}/content")) == (404, "file_content_missing")


async def test_sweep_deletes_old_orphans_only(client: httpx.AsyncClient, folder: Path) -> None:
    project, gone = await made(client), await made(client)
    await uploaded(client, project)
    await uploaded(client, gone)
    assert (await client.delete(f"{PROJECTS}/{gone}")).status_code == 204
    (folder / f"{uuid4().hex}").mkdir()
    half = folder / uuid4().hex / f"{uuid4().hex}#1"
    half.parent.mkdir()
    half.write_bytes(b"half")
    (folder / "foreign").write_bytes(b"not ours")
    sessions = build_sessions(client.app.state.engine)  # type: ignore[attr-defined]
    storage = ObjectStorage(f"file://{folder}")
    allowed = Permission(await this_database(sessions, "local"))
    now = datetime.now(UTC)
    young = await sweep(sessions, storage, allowed, before=now - LATER, deadline_s=9)
    assert (young.examined, young.orphans) == (4, ())
    dry = await sweep(sessions, storage, allowed, before=now + LATER, deadline_s=9, dry_run=True)
    assert (len(dry.orphans), dry.deleted, len(kept(folder))) == (2, 0, 4)
    done = await sweep(sessions, storage, allowed, before=now + LATER, deadline_s=9)
    assert (done.orphans, done.deleted, done.finished) == (dry.orphans, 2, True)
    # What is left: the file, what is not ours, and whose storage this is.
    assert len(kept(folder)) == 3
    late = await sweep(sessions, storage, allowed, before=now + LATER, deadline_s=0)
    assert not late.finished


async def test_sweep_from_another_database_deletes_nothing(
    client: httpx.AsyncClient, folder: Path, database_url: str
) -> None:
    projects = [await made(client) for _ in range(3)]
    files = [await uploaded(client, project) for project in projects]
    sessions = build_sessions(client.app.state.engine)  # type: ignore[attr-defined]
    await upgrade(database_url, say=lambda _: None)
    engine = open_engine(database_url)
    strangers = build_sessions(engine)
    storage = ObjectStorage(f"file://{folder}")
    mine = Permission(await this_database(sessions, "production"))
    theirs = Permission(await this_database(strangers, "staging"))
    assert not mine.owner.same_database(theirs.owner)
    when: Any = {"before": datetime.now(UTC) + LATER, "deadline_s": 9}

    # Nobody has said yet whose it is: that nothing in it is known here tells.
    unclaimed = await sweep(strangers, storage, theirs, **when)
    assert (unclaimed.deleted, len(unclaimed.orphans)) == (0, 3)
    assert "3 of 3 files have no row" in unclaimed.refused
    assert (await sweep(sessions, storage, mine, **when)).refused == ""

    # From then on it is said, and no share of orphans decides.
    forced = msgspec.structs.replace(theirs, force=True)
    claimed = await sweep(strangers, storage, forced, **when)
    assert claimed.deleted == 0
    assert "belongs to" in claimed.refused
    assert "of production" in claimed.refused
    assert [(await client.get(f"{file}/content")).status_code for file in files] == [200] * 3

    # A database that took the other's place says so, and still may not delete the most of it.
    moved = msgspec.structs.replace(theirs, claim=True)
    assert "3 of 3" in (await sweep(strangers, storage, moved, **when)).refused
    both = msgspec.structs.replace(forced, claim=True)
    assert (await sweep(strangers, storage, both, **when)).deleted == 3
    assert "of staging" in (await sweep(sessions, storage, mine, **when)).refused
    await engine.dispose()


def test_sweep_is_a_command(
    migrated_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("STORAGE_URL", f"file://{tmp_path}")
    ran = CliRunner().invoke(files_command, ["sweep", "--dry-run", "--json"])
    assert (ran.exit_code, json.loads(ran.output)) == (
        0,
        {"examined": 0, "orphans": [], "deleted": 0, "finished": True, "refused": ""},
    )


def test_sweep_says_what_is_wrong_with_the_storage(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("STORAGE_URL", "s3://camp")
    nobody = "aws_endpoint=http://127.0.0.1:1,aws_region=x,aws_skip_signature=true"
    monkeypatch.setenv("STORAGE_OPTIONS", nobody)
    ran = CliRunner().invoke(files_command, ["sweep", "--dry-run"])
    assert (ran.exit_code, "STORAGE_OPTIONS" in ran.output) == (1, True)
    assert "Traceback" not in ran.output


async def test_cut_upload_leaves_nothing_and_holds_no_drain(
    migrated_database_url: str, tmp_path: Path, folder: Path
) -> None:
    with running(tmp_path, migrated_database_url, STORAGE_URL=f"file://{folder}") as instance:
        async with httpx.AsyncClient(base_url=instance.url, headers=USER) as client:
            project = await made(client)

            async def requests() -> int:
                return int((await client.get("/health")).json()["requests"])

            begun = asyncio.Event()

            async def endless() -> AsyncGenerator[bytes, None]:
                yield PNG + b"\x00" * 8_000_000
                begun.set()
                await asyncio.Event().wait()

            task = asyncio.create_task(upload(client, project, endless()))
            await begun.wait()
            assert await eventually(lambda: bool(kept(folder)))
            assert await requests() == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

            async def over() -> bool:
                return await requests() == 0

            assert await eventually(over)
            assert await eventually(lambda: not kept(folder))
            assert (await client.get(f"{PROJECTS}/{project}/files")).json()["total"] == 0
        statuses = [line["status"] for line in instance.lines() if "upload" in str(line)]
        assert 500 not in statuses


async def test_upload_that_runs_survives_the_drain_and_needs_little_memory(
    migrated_database_url: str, tmp_path: Path, folder: Path
) -> None:
    block = b"\x00" * 65_536
    with running(tmp_path, migrated_database_url, STORAGE_URL=f"file://{folder}") as instance:
        process = psutil.Process(instance.process.pid)
        async with httpx.AsyncClient(base_url=instance.url, headers=USER, timeout=30) as client:
            project = await made(client)
            await uploaded(client, project)
            before = process.memory_info().rss
            peak = before

            async def fifty_megabytes() -> AsyncGenerator[bytes, None]:
                nonlocal peak
                yield PNG
                for number in range(800):
                    if number == 400:
                        process.terminate()
                    if number % 20 == 0:
                        peak = max(peak, process.memory_info().rss)
                    yield block

            response = await upload(client, project, fifty_megabytes())
            assert (response.status_code, response.json()["size"]) == (
                201,
                len(PNG) + 800 * 65_536,
            )
        assert instance.exit_code() == 0
        # Two parts of 5 MB on their way, one filling, one block; not the 52 MB of the file.
        assert peak - before < 30_000_000
