"""Projects and their users, made through an app in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx

from camp.auth.identity import Principal
from camp.database.engine import uuid7
from camp.membership import ProjectRole
from tests.issuers import Issuer
from tests.service import client_of, own_id, settings

API = "/api/v1/projects"


@asynccontextmanager
async def plain(
    issuer: Issuer, database_url: str, **variables: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose user is no SYSTEM_ADMIN."""
    given = settings(database_url, **(issuer.variables | variables))
    async with client_of(given, headers=issuer.bearer("plain")) as client:
        yield client


async def made(client: httpx.AsyncClient, name: str = "a project", text: str = "") -> str:
    response = await client.post(API, json={"name": name, "description": text})
    assert response.status_code == 201
    return str(response.json()["id"])


async def new_user(client: httpx.AsyncClient, name: str = "Other") -> UUID:
    """A user who has signed in before."""
    user_id = uuid7()
    async with client.app.state.engine.begin() as connection:  # type: ignore[attr-defined]
        await connection.exec_driver_sql(
            "INSERT INTO users (id, subject, email, display_name, created_at, updated_at)"
            f" VALUES ('{user_id}', '{user_id}', '', '{name}', now(), now())"
        )
    return user_id


async def add(client: httpx.AsyncClient, project: str, user: UUID, role: str = "MEMBER") -> None:
    response = await client.post(
        f"{API}/{project}/members", json={"user_id": str(user), "role": role}
    )
    assert response.status_code == 201


async def become(client: httpx.AsyncClient, project: str, role: str | None) -> None:
    """Make the signed-in user something else in a project, by another manager's hand."""
    members = client.app.state.members  # type: ignore[attr-defined]
    boss = await new_user(client)
    await add(client, project, boss, ProjectRole.PROJECT_MANAGER)
    me = await own_id(client)
    if role is None:
        await members.remove(Principal(boss, "boss"), UUID(project), me)
    else:
        await members.change(Principal(boss, "boss"), UUID(project), me, ProjectRole(role))
