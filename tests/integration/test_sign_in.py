"""An Entra token through whole requests: a real PostgreSQL, and keys fetched over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.issuers import Issuer
from tests.projects import plain
from tests.service import problem

API = "/api/v1/users"


@pytest.fixture
async def client(issuer: Issuer, migrated_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with plain(issuer, migrated_database_url) as client:
        yield client


async def test_first_visit_makes_the_user_and_later_ones_find_it(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    boss = issuer.bearer("boss-oid", "SYSTEM_ADMIN", name="Grace")
    at_once = await asyncio.gather(*(client.get(f"{API}/me", headers=boss) for _ in range(5)))
    later = await client.get(f"{API}/me", headers=issuer.bearer("boss-oid", "SYSTEM_ADMIN"))
    first = later.json()
    assert [response.json() for response in at_once] == [first] * 5
    assert (first["role"], first["display_name"], first["email"]) == (
        "SYSTEM_ADMIN",
        "Grace",
        "ada@camp.example",
    )
    own = (await client.get(f"{API}/me")).json()
    assert (own["role"], own["id"] == first["id"]) == ("USER", False)
    assert (await client.get(API, headers=boss)).json()["total"] == 2


async def test_role_follows_the_token_at_once(client: httpx.AsyncClient, issuer: Issuer) -> None:
    ids = set()
    for roles, role, status in (
        ((), "USER", 403),
        (("SYSTEM_ADMIN",), "SYSTEM_ADMIN", 200),
        (("Other",), "USER", 403),
        (("Other", "SYSTEM_ADMIN"), "SYSTEM_ADMIN", 200),
    ):
        headers = issuer.bearer("ada-oid", *roles)
        me = (await client.get(f"{API}/me", headers=headers)).json()
        ids.add(me["id"])
        assert me["role"] == role
        assert (await client.get(API, headers=headers)).status_code == status
    assert len(ids) == 1


async def test_expired_token_of_somebody_known_is_refused_with_the_remedy(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    assert (await client.get(f"{API}/me")).status_code == 200
    expired = issuer.bearer("plain", exp=int(time.time()) - 60)
    response = await client.get(f"{API}/me", headers=expired)
    assert problem(response) == (401, "token_expired")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "Sign in again" in response.json()["detail"]
