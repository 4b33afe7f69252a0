"""HEAD is GET without the body, on every route and over real HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.projects import made
from tests.served import serving
from tests.service import client_of, problem, settings
from tests.waiting import eventually

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10
# They differ from one answer to the next.
OWN = {"date", "x-request-id"}


async def test_head_tells_what_get_would(migrated_database_url: str, tmp_path: Path) -> None:
    given = {"STORAGE_URL": f"file://{tmp_path}", "DEV_MOCK_TOKEN": "test-token"}
    async with (
        serving(migrated_database_url, variables=given) as served,
        httpx.AsyncClient(
            base_url=served.url, headers={"authorization": "Bearer test-token"}
        ) as client,
    ):
        projects = "/api/v1/projects"
        files = f"{projects}/{await made(client)}/files"
        uploaded = await client.post(files, params={"name": "a.png"}, content=PNG)
        where = uploaded.headers["location"]
        work = {"kind": "echo", "input": {"text": "x"}}
        run = (await client.post("/api/v1/runs", json=work)).json()["id"]
        paths = ["/", "/health", "/health/live", "/health/ready", "/docs", "/docs/openapi.json"]
        paths += [projects, files, where, f"{where}/content", f"/api/v1/runs/{run}"]
        paths += ["/api/v1/users/me", "/nothing", f"{where[:-12]}000000000000", "/metrics"]
        plain = {"accept-encoding": "identity"}
        for path in paths:
            got, head = await client.get(path, headers=plain), await client.head(path)
            assert (path, head.status_code, head.content) == (path, got.status_code, b"")
            shown = {name for name in got.headers if name not in OWN}
            assert shown == {name for name in head.headers if name not in OWN}, path
            if path not in {"/metrics", "/health"}:  # they have another length each time
                same = [(got.headers[name], head.headers[name]) for name in shown]
                assert [pair for pair in same if pair[0] != pair[1]] == [], path


async def test_head_of_a_stream_ends_with_its_head(migrated_database_url: str) -> None:
    async with serving(migrated_database_url) as served:
        headers = {"authorization": "Bearer camp-dev-token"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            work = {"kind": "echo", "input": {"text": "x"}}
            run = (await client.post("/api/v1/runs", json=work)).json()["id"]
            head = await client.head(f"/api/v1/runs/{run}/events")
            assert head.headers["content-type"].startswith("text/event-stream")
            assert await eventually(lambda: served.lifecycle.idle)


async def test_head_reads_no_more_of_a_file_than_it_needs_to_find_it(
    migrated_database_url: str, tmp_path: Path
) -> None:
    made_settings = settings(migrated_database_url, STORAGE_URL=f"file://{tmp_path}")
    async with client_of(made_settings) as client:
        files = f"/api/v1/projects/{await made(client)}/files"
        where = (await client.post(files, params={"name": "a"}, content=PNG)).headers["location"]
        part = await client.head(f"{where}/content", headers={"range": "bytes=8-15"})
        assert (part.status_code, part.headers["content-length"], part.content) == (206, "8", b"")
        next(path for path in tmp_path.rglob("*") if path.is_file()).unlink()  # noqa: ASYNC240 - a folder of one file
        missing = await client.head(f"{where}/content")
        assert (missing.status_code, missing.content) == (404, b"")


async def test_allow_names_head_where_it_names_get() -> None:
    async with client_of(settings()) as client:
        refused = await client.put("/health", json={})
        assert problem(refused) == (405, "method_not_allowed")
        allowed = {name.strip() for name in refused.headers["allow"].split(",")}
        assert {"GET", "HEAD"} <= allowed
        only_post = await client.head("/internal/drain")
        assert (only_post.status_code, "HEAD" in only_post.headers["allow"]) == (405, False)
