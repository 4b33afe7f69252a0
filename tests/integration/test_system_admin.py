"""What a SYSTEM_ADMIN may do in the projects of others, over HTTP on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.issuers import Issuer
from tests.projects import API, made, new_user, plain
from tests.service import own_id, problem

USERS = "/api/v1/users"


class Person:
    """Somebody who asks through another's client."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self._client = client
        self._headers = headers

    async def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        sent["headers"] = self._headers | sent.get("headers", {})
        return await self._client.request(method, path, **sent)

    async def own_id(self) -> str:
        return str((await self.ask("GET", f"{USERS}/me")).json()["id"])


@pytest.fixture
async def client(
    issuer: Issuer, migrated_database_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    given = {"REDIS_URL": redis_url, "STORAGE_URL": f"file://{tmp_path}"}
    async with plain(issuer, migrated_database_url, **given) as client:
        yield client


@pytest.fixture
def root(issuer: Issuer, client: httpx.AsyncClient) -> Person:
    return Person(client, issuer.bearer("root", "SYSTEM_ADMIN"))


async def test_system_admin_does_everything_in_a_project_of_others(
    client: httpx.AsyncClient, root: Person
) -> None:
    project, user = await made(client), str(await new_user(client))
    one = f"{API}/{project}"
    png = {"content": b"\x89PNG\r\n\x1a\n" + bytes(99), "headers": {"content-type": "image/png"}}
    assert (await root.ask("GET", one)).json()["role"] == "PROJECT_MANAGER"
    uploaded = await root.ask("POST", f"{one}/files", params={"name": "a.png"}, **png)
    file = uploaded.headers["location"]
    done = [
        uploaded,
        await root.ask("PATCH", one, json={"name": "new"}),
        await root.ask("POST", f"{one}/members", json={"user_id": user}),
        await root.ask("PATCH", f"{one}/members/{user}", json={"role": "VIEWER"}),
        await root.ask("GET", f"{one}/members"),
        await root.ask("DELETE", f"{one}/members/{user}"),
        await root.ask("GET", f"{file}/content"),
        await root.ask("DELETE", file),
        await root.ask("DELETE", one),
    ]
    statuses = [response.status_code for response in done]
    assert statuses == [201, 200, 201, 200, 200, 204, 200, 204, 204]


async def test_system_admin_lists_all_projects_and_others_their_own(
    client: httpx.AsyncClient, root: Person
) -> None:
    for name in ("one", "two"):
        await made(client, name)
    await root.ask("POST", API, json={"name": "of root"})
    listed = (await root.ask("GET", API, params={"orderBy": "name", "sortOrder": "asc"})).json()
    assert [item["name"] for item in listed["items"]] == ["of root", "one", "two"]
    assert {item["role"] for item in listed["items"]} == {"PROJECT_MANAGER"}
    paged = (await root.ask("GET", API, params={"limit": 1, "search": "O"})).json()
    assert (len(paged["items"]), paged["total"]) == (1, 3)
    assert (await client.get(API)).json()["total"] == 2


async def test_last_manager_is_safe_from_a_system_admin(
    client: httpx.AsyncClient, root: Person
) -> None:
    project = await made(client)
    member = f"{API}/{project}/members/{await own_id(client)}"
    assert problem(await root.ask("DELETE", member)) == (409, "last_manager")
    itself = f"{API}/{project}/members/{await root.own_id()}"
    assert problem(await root.ask("DELETE", itself)) == (404, "member_not_found")


async def test_project_that_is_not_there_is_not_found_for_a_system_admin(
    client: httpx.AsyncClient, root: Person
) -> None:
    deleted = await made(client)
    assert (await root.ask("GET", f"{API}/{deleted}")).status_code == 200
    assert (await client.delete(f"{API}/{deleted}")).status_code == 204
    for project in (deleted, uuid4()):
        one = f"{API}/{project}"
        attempts = [
            await root.ask("GET", one),
            await root.ask("PATCH", one, json={"name": "x"}),
            await root.ask("DELETE", one),
            await root.ask("GET", f"{one}/members"),
            await root.ask("GET", f"{one}/files"),
        ]
        assert {problem(response) for response in attempts} == {(404, "project_not_found")}


async def test_role_given_and_taken_holds_at_once_where_it_was_changed(
    client: httpx.AsyncClient, issuer: Issuer, root: Person
) -> None:
    project = f"{API}/{await made(client)}"
    ada = Person(client, issuer.bearer("ada"))
    user = f"{USERS}/{await ada.own_id()}"
    assert problem(await ada.ask("GET", project)) == (404, "project_not_found")
    for role, status in (("SYSTEM_ADMIN", 200), ("USER", 404)):
        assert (await root.ask("PATCH", user, json={"role": role})).status_code == 200
        assert (await ada.ask("GET", project)).status_code == status
        assert (await ada.ask("PATCH", project, json={"name": "x"})).status_code == status


async def test_role_taken_at_another_instance_changes_no_project_any_more(
    client: httpx.AsyncClient, issuer: Issuer, root: Person, migrated_database_url: str
) -> None:
    project = f"{API}/{await made(client)}"
    ada = Person(client, issuer.bearer("ada"))
    user = f"{USERS}/{await ada.own_id()}"
    await root.ask("PATCH", user, json={"role": "SYSTEM_ADMIN"})
    assert (await ada.ask("PATCH", project, json={"name": "x"})).status_code == 200
    async with plain(issuer, migrated_database_url) as other:
        elsewhere = Person(other, issuer.bearer("root", "SYSTEM_ADMIN"))
        taken = await elsewhere.ask("PATCH", user, json={"role": "USER"})
        assert taken.status_code == 200
    refused = await ada.ask("PATCH", project, json={"name": "y"})
    assert problem(refused) == (404, "project_not_found")
