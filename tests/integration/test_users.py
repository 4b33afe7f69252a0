"""Users and their roles on a real PostgreSQL, seen by several of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from camp.auth.authenticator import DEV_IDENTITY
from camp.auth.identity import Identity, Principal, UserRole
from camp.errors import LastSystemAdmin, SystemAdminOnly
from camp.users.service import UserService
from tests.service import client_of, own_id, problem, settings

API = "/api/v1/users"
ADMIN, USER = UserRole


def service(client: httpx.AsyncClient) -> UserService:
    found: UserService = client.app.state.users  # type: ignore[attr-defined]
    return found


async def signed_in(client: httpx.AsyncClient, subject: str, *roles: str) -> Principal:
    """Another user, who signs in with a token that names these roles."""
    identity = Identity(subject, f"{subject}@example.invalid", subject.title(), frozenset(roles))
    return await service(client).ensure(identity)


async def demoted(client: httpx.AsyncClient) -> UUID:
    """The signed-in user after another admin has taken the role away."""
    me, boss = await own_id(client), await signed_in(client, "boss", ADMIN)
    await service(client).change_role(boss, me, USER, None)
    return me


@pytest.fixture
async def client(migrated_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(settings(migrated_database_url)) as made:
        yield made


async def test_developer_administers_the_system(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{API}/me")).json()["role"] == "SYSTEM_ADMIN"


async def test_role_from_a_token_goes_with_it_and_a_given_one_stays(
    client: httpx.AsyncClient,
) -> None:
    for roles, role in (((), USER), ((ADMIN,), ADMIN), (("Other",), USER), ((ADMIN,), ADMIN)):
        ada = await signed_in(client, "ada", *roles)
        assert (await service(client).me(ada)).role == role
    given = await client.patch(f"{API}/{ada.user_id}", json={"role": ADMIN})
    assert (given.status_code, given.json()["role"]) == (200, ADMIN)
    await signed_in(client, "ada")
    assert (await service(client).me(ada)).role == ADMIN


async def test_list_is_paged_sorted_searched_and_filtered(client: httpx.AsyncClient) -> None:
    for name in ("ada", "grace", "alan"):
        await signed_in(client, name)
    by_name = {"orderBy": "display_name", "sortOrder": "asc"}
    page = (await client.get(API, params={**by_name, "limit": 2, "offset": 1})).json()
    assert [item["display_name"] for item in page["items"]] == ["Alan", "Developer"]
    assert page["total"] == 4
    found = (await client.get(API, params={"search": "GRACE@"})).json()
    assert [item["display_name"] for item in found["items"]] == ["Grace"]
    admins = (await client.get(API, params={"role": "SYSTEM_ADMIN"})).json()
    assert [item["display_name"] for item in admins["items"]] == ["Developer"]


@pytest.mark.parametrize(
    "params", [{"limit": "0"}, {"orderBy": "subject"}, {"role": "ROOT"}, {"search": "a\x00"}]
)
async def test_impossible_list_is_refused(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    response = await client.get(API, params=params)
    assert problem(response) == (400, "validation_failed")
    assert response.json()["errors"][0]["field"] == next(iter(params))


async def test_who_is_no_admin_any_more_sees_only_themselves(client: httpx.AsyncClient) -> None:
    me = await demoted(client)
    attempts = [
        await client.get(API),
        await client.get(f"{API}/{me}"),
        await client.patch(f"{API}/{me}", json={"role": ADMIN}),
        await client.get(f"{API}/{uuid4()}"),
    ]
    assert {problem(response) for response in attempts} == {(403, "system_admin_only")}
    assert (await client.get(f"{API}/me")).json()["role"] == USER


async def test_unknown_user_is_not_found(client: httpx.AsyncClient) -> None:
    one = f"{API}/{uuid4()}"
    assert problem(await client.get(one)) == (404, "user_not_found")
    assert problem(await client.patch(one, json={"role": ADMIN})) == (404, "user_not_found")


async def test_last_system_admin_stays_one(client: httpx.AsyncClient) -> None:
    me = f"{API}/{await own_id(client)}"
    assert problem(await client.patch(me, json={"role": USER})) == (409, "last_system_admin")
    await signed_in(client, "boss", ADMIN)
    assert (await client.patch(me, json={"role": USER})).json()["role"] == USER


async def test_two_admins_who_demote_each_other_at_once_leave_one(
    client: httpx.AsyncClient,
) -> None:
    users = service(client)
    for _ in range(5):
        one = await users.ensure(DEV_IDENTITY)
        two = await signed_in(client, "two", ADMIN)
        outcome = await asyncio.gather(
            users.change_role(one, two.user_id, USER, None),
            users.change_role(two, one.user_id, USER, None),
            return_exceptions=True,
        )
        refused = [type(result) for result in outcome if isinstance(result, Exception)]
        assert refused in ([SystemAdminOnly], [LastSystemAdmin])
        assert [(await users.me(p)).role for p in (one, two)].count(ADMIN) == 1


async def test_update_of_something_changed_since_is_refused(client: httpx.AsyncClient) -> None:
    me = await own_id(client)
    for path, change in ((f"{API}/me", {"display_name": "Ada"}), (f"{API}/{me}", {"role": ADMIN})):
        # Sign-in gave this role, so giving it now is a change as well.
        tag = (await client.get(path)).headers["etag"]
        fresh = await client.patch(path, json=change, headers={"if-match": tag})
        assert fresh.status_code == 200
        assert fresh.headers["etag"] == (await client.get(path)).headers["etag"] != tag
        late = await client.patch(path, json=change, headers={"if-match": tag})
        assert problem(late) == (412, "precondition_failed")


async def test_of_two_renames_from_the_same_reading_one_holds(client: httpx.AsyncClient) -> None:
    tag = (await client.get(f"{API}/me")).headers["etag"]
    outcome = await asyncio.gather(
        *(
            client.patch(f"{API}/me", json={"display_name": name}, headers={"if-match": tag})
            for name in ("one", "two", "three")
        )
    )
    assert sorted(response.status_code for response in outcome) == [200, 412, 412]
