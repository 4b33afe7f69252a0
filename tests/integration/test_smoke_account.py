"""The account of checks: signed in beside Entra ID, answered by the echo, and nobody's way in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.models import FakeModels, fake_models, variables
from tests.issuers import Issuer
from tests.projects import API as PROJECTS
from tests.projects import made
from tests.service import client_of, problem, settings

TOKEN = "kUr0ZqJmW3xv8TgYpLd2NcB6sEaH9fQi4oMw1RjX"
CHECKS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def models() -> AsyncIterator[FakeModels]:
    async with fake_models() as fake:
        yield fake


@pytest.fixture
async def client(
    issuer: Issuer, models: FakeModels, migrated_database_url: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """In production, with a real model behind it; signed in with an Entra token."""
    given = issuer.variables | variables("openai", models)
    given |= {"CAMP_SMOKE_TOKEN": TOKEN, "STORAGE_URL": f"file://{tmp_path}"}
    async with client_of(
        settings(migrated_database_url, **given), headers=issuer.bearer("ada")
    ) as client:
        yield client


async def said(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> str:
    chat = (await client.post("/api/v1/chats", json={}, headers=headers)).json()["id"]
    path = f"/api/v1/chats/{chat}/stream"
    told = await client.post(path, json={"content": "one two"}, headers=headers)
    data = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]
    return "".join(each.get("text", "") for each in data)


async def test_checks_are_answered_by_the_echo_and_users_by_the_model(
    client: httpx.AsyncClient, models: FakeModels
) -> None:
    assert await said(client, CHECKS) == "one two"
    assert models.requests == []
    assert await said(client) == "Good day ☀"
    assert len(models.requests) == 1


async def test_no_run_of_checks_asks_the_model(client: httpx.AsyncClient) -> None:
    echo = {"kind": "echo", "input": {"text": "one"}}
    assert (await client.post("/api/v1/runs", json=echo, headers=CHECKS)).status_code == 202
    summary = {"kind": "summarise_chat", "input": {"chat_id": "0" * 32}}
    refused = await client.post("/api/v1/runs", json=summary, headers=CHECKS)
    assert problem(refused) == (403, "forbidden")


async def test_checks_see_nothing_of_others_and_nobody_can_let_them(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    me = (await client.get("/api/v1/users/me", headers=CHECKS)).json()
    assert (me["display_name"], me["role"]) == ("camp smoke", "USER")
    project = await made(client)
    assert problem(await client.get(f"{PROJECTS}/{project}", headers=CHECKS))[0] == 404
    assert problem(await client.get("/api/v1/users", headers=CHECKS))[0] == 403
    member = {"user_id": me["id"], "role": "VIEWER"}
    joined = await client.post(f"{PROJECTS}/{project}/members", json=member)
    assert problem(joined) == (400, "user_unknown")
    boss = issuer.bearer("boss", "SYSTEM_ADMIN")
    role = {"role": "SYSTEM_ADMIN"}
    raised = await client.patch(f"/api/v1/users/{me['id']}", json=role, headers=boss)
    assert problem(raised) == (403, "forbidden")


async def test_directory_cannot_sign_in_as_the_account_of_checks(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    forged = await client.get("/api/v1/users/me", headers=issuer.bearer("camp:smoke"))
    assert problem(forged) == (401, "token_invalid")


async def test_without_the_setting_no_token_opens_the_account(
    issuer: Issuer, migrated_database_url: str
) -> None:
    made = settings(migrated_database_url, **issuer.variables)
    for token in (TOKEN, "", "none"):
        headers = {"authorization": f"Bearer {token}"}
        async with client_of(made, headers=headers) as client:
            assert problem(await client.get("/api/v1/users/me"))[0] == 401
