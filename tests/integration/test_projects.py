"""Projects and their members on a real PostgreSQL, seen by several users and two instances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import httpx
import pytest

from camp.auth.identity import Principal
from camp.cache import Cache
from camp.database.engine import build_engine, build_sessions
from camp.errors import LastManager, RoleTooLow
from camp.membership import ProjectRole
from camp.projects.members import MemberService
from camp.projects.roles import CachedRoles
from tests.issuers import Issuer
from tests.projects import API, add, become, made, new_user, plain
from tests.service import own_id, problem, settings
from tests.waiting import eventually

MANAGER, MODERATOR, MEMBER, VIEWER = ProjectRole


@pytest.fixture
async def client(
    issuer: Issuer, migrated_database_url: str, redis_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    async with plain(issuer, migrated_database_url, REDIS_URL=redis_url) as client:
        yield client


async def test_who_makes_a_project_manages_it(client: httpx.AsyncClient) -> None:
    project = await made(client, "Annual report", "figures")
    body = (await client.get(f"{API}/{project}")).json()
    assert (body["name"], body["description"], body["role"]) == (
        "Annual report",
        "figures",
        "PROJECT_MANAGER",
    )
    members = (await client.get(f"{API}/{project}/members")).json()
    assert [(m["user_id"], m["role"]) for m in members["items"]] == [
        (str(await own_id(client)), "PROJECT_MANAGER")
    ]


async def test_list_is_paged_sorted_and_searched(client: httpx.AsyncClient) -> None:
    for name in ("b one", "a two", "c 100%"):
        await made(client, name)
    by_name = {"orderBy": "name", "sortOrder": "asc"}
    page = (await client.get(API, params={**by_name, "limit": 2, "offset": 1})).json()
    assert [item["name"] for item in page["items"]] == ["b one", "c 100%"]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    beyond = (await client.get(API, params={"offset": 7})).json()
    assert (beyond["items"], beyond["total"]) == ([], 3)
    for search, names in {"TWO": ["a two"], "%": ["c 100%"], "_": []}.items():
        found = (await client.get(API, params={**by_name, "search": search})).json()
        assert [item["name"] for item in found["items"]] == names
        assert found["total"] == len(names)


@pytest.mark.parametrize(
    "params", [{"limit": "0"}, {"offset": "-1"}, {"orderBy": "id; --"}, {"search": "a\x00"}]
)
async def test_impossible_list_is_refused(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    response = await client.get(API, params=params)
    assert problem(response) == (400, "validation_failed")
    assert response.json()["errors"][0]["field"] == next(iter(params))


async def test_update_needs_the_current_etag(client: httpx.AsyncClient) -> None:
    project = await made(client)
    tag = (await client.get(f"{API}/{project}")).headers["etag"]
    change = {"json": {"name": "new"}, "headers": {"if-match": tag}}
    updated = await client.patch(f"{API}/{project}", **change)  # type: ignore[arg-type]
    assert (updated.status_code, updated.json()["name"]) == (200, "new")
    assert updated.headers["etag"] not in {tag, None}
    late = await client.patch(f"{API}/{project}", **change)  # type: ignore[arg-type]
    assert problem(late) == (412, "precondition_failed")
    stale = await client.delete(f"{API}/{project}", headers={"if-match": tag})
    assert problem(stale) == (412, "precondition_failed")


async def test_update_leaves_what_it_does_not_name(client: httpx.AsyncClient) -> None:
    project = await made(client, "name", "text")
    body = (await client.patch(f"{API}/{project}", json={"description": ""})).json()
    assert (body["name"], body["description"], body["version"]) == ("name", "", 2)


async def test_deleted_project_is_gone_for_its_members(client: httpx.AsyncClient) -> None:
    project = await made(client)
    assert (await client.get(f"{API}/{project}")).status_code == 200
    assert (await client.delete(f"{API}/{project}")).status_code == 204
    assert problem(await client.get(f"{API}/{project}")) == (404, "project_not_found")
    assert (await client.get(API)).json()["total"] == 0


async def test_who_is_no_member_finds_nothing(client: httpx.AsyncClient) -> None:
    project = await made(client)
    await become(client, project, None)
    me = await own_id(client)
    attempts = [
        await client.get(f"{API}/{project}"),
        await client.patch(f"{API}/{project}", json={"name": "x"}),
        await client.delete(f"{API}/{project}"),
        await client.get(f"{API}/{project}/members"),
        await client.post(f"{API}/{project}/members", json={"user_id": str(me)}),
        await client.get(f"{API}/{project}/members/{me}"),
        await client.patch(f"{API}/{project}/members/{me}", json={"role": "VIEWER"}),
        await client.delete(f"{API}/{project}/members/{me}"),
        await client.get(f"{API}/{uuid4()}"),
    ]
    assert {problem(response) for response in attempts} == {(404, "project_not_found")}


@pytest.mark.parametrize("role", [MODERATOR, MEMBER, VIEWER])
async def test_who_does_not_manage_reads_only_and_is_told_why(
    client: httpx.AsyncClient, role: ProjectRole
) -> None:
    project = await made(client)
    other = await new_user(client)
    await become(client, project, role)
    attempts = [
        await client.patch(f"{API}/{project}", json={"name": "x"}),
        await client.delete(f"{API}/{project}"),
        await client.post(f"{API}/{project}/members", json={"user_id": str(other)}),
        await client.patch(f"{API}/{project}/members/{other}", json={"role": "VIEWER"}),
        await client.delete(f"{API}/{project}/members/{other}"),
    ]
    assert {problem(response) for response in attempts} == {(403, "role_too_low")}
    assert {f"role PROJECT_MANAGER in the project, and yours is {role}" in r.text for r in attempts}
    assert (await client.get(f"{API}/{project}")).json()["role"] == role
    assert (await client.get(f"{API}/{project}/members")).status_code == 200


async def test_members_are_added_changed_and_removed(client: httpx.AsyncClient) -> None:
    project = await made(client)
    other = await new_user(client, "Grace")
    await add(client, project, other, "VIEWER")
    one = f"{API}/{project}/members/{other}"
    changed = await client.patch(one, json={"role": "MODERATOR"})
    assert (changed.json()["role"], changed.json()["display_name"]) == ("MODERATOR", "Grace")
    listed = (await client.get(f"{API}/{project}/members")).json()
    assert [m["role"] for m in listed["items"]] == ["PROJECT_MANAGER", "MODERATOR"]
    assert (await client.delete(one)).status_code == 204
    assert problem(await client.delete(one)) == (404, "member_not_found")
    assert problem(await client.get(one)) == (404, "member_not_found")


async def test_second_change_of_a_member_with_the_old_etag_is_refused(
    client: httpx.AsyncClient,
) -> None:
    project = await made(client)
    other = await new_user(client)
    await add(client, project, other, "VIEWER")
    one = f"{API}/{project}/members/{other}"
    seen = {"if-match": (await client.get(one)).headers["etag"]}
    changed = await client.patch(one, json={"role": "MEMBER"}, headers=seen)
    assert (changed.status_code, changed.headers["etag"] == seen["if-match"]) == (200, False)
    late = await client.patch(one, json={"role": "MODERATOR"}, headers=seen)
    assert problem(late) == (412, "precondition_failed")
    again = await client.get(one)
    assert (again.json()["role"], again.headers["etag"]) == ("MEMBER", changed.headers["etag"])


async def test_stranger_and_double_member_are_refused(client: httpx.AsyncClient) -> None:
    project = await made(client)
    nobody = await client.post(f"{API}/{project}/members", json={"user_id": str(uuid4())})
    assert problem(nobody) == (400, "user_unknown")
    again = await client.post(
        f"{API}/{project}/members", json={"user_id": str(await own_id(client))}
    )
    assert problem(again) == (409, "already_member")


async def test_last_manager_can_neither_leave_nor_step_down(client: httpx.AsyncClient) -> None:
    project = await made(client)
    await add(client, project, await new_user(client))
    me = f"{API}/{project}/members/{await own_id(client)}"
    assert problem(await client.delete(me)) == (409, "last_manager")
    assert problem(await client.patch(me, json={"role": "MEMBER"})) == (409, "last_manager")
    await add(client, project, await new_user(client), "PROJECT_MANAGER")
    assert (await client.delete(me)).status_code == 204


async def test_two_managers_who_demote_each_other_at_once_leave_one(
    client: httpx.AsyncClient, migrated_database_url: str
) -> None:
    me, project = await own_id(client), UUID(await made(client))
    for _ in range(5):
        other = await new_user(client)
        await add(client, str(project), other, MANAGER)
        async with AsyncExitStack() as stack:
            services = []
            for _ in range(2):
                engine = build_engine(settings(migrated_database_url))
                stack.push_async_callback(engine.dispose)
                sessions = build_sessions(engine)
                cache = Cache(None, "role", ttl_s=30, timeout_s=1, tally=lambda *_: None)
                services.append(MemberService(sessions, CachedRoles(sessions, cache), cache))
            one, two = services
            outcome = await asyncio.gather(
                one.change(Principal(me, "me"), project, other, MEMBER),
                two.change(Principal(other, "other"), project, me, MEMBER),
                return_exceptions=True,
            )
        refused = [result for result in outcome if isinstance(result, Exception)]
        assert [type(error) for error in refused] in ([RoleTooLow], [LastManager])
        async with client.app.state.engine.begin() as connection:  # type: ignore[attr-defined]
            managers = await connection.exec_driver_sql(
                "SELECT count(*) FROM project_members WHERE role = 'PROJECT_MANAGER'"
            )
            assert managers.scalar() == 1
            await connection.exec_driver_sql(
                "UPDATE project_members SET role = CASE WHEN user_id = "
                f"'{me}' THEN 'PROJECT_MANAGER' ELSE 'VIEWER' END"
            )


async def test_role_changed_through_one_instance_is_seen_by_the_other_at_once(
    client: httpx.AsyncClient, issuer: Issuer, migrated_database_url: str, redis_url: str
) -> None:
    project = await made(client)
    async with plain(issuer, migrated_database_url, REDIS_URL=redis_url) as other:
        for role in (MODERATOR, VIEWER, None):
            # The other instance serves the role it had until now from the cache.
            assert await eventually(lambda: hits(other, f"{API}/{project}"))
            if role is MODERATOR:
                await become(client, project, role)
            else:
                await demoted(client, project, role)
            seen = await other.get(f"{API}/{project}")
            assert seen.json().get("role") == role


async def hits(client: httpx.AsyncClient, url: str) -> bool:
    """Whether a request found the role in the cache."""
    before = hits_counted(client)
    assert (await client.get(url)).status_code == 200
    return hits_counted(client) > before


def hits_counted(client: httpx.AsyncClient) -> float:
    registry = client.app.state.metrics.registry  # type: ignore[attr-defined]
    labels = {"cache": "role", "result": "hit"}
    return registry.get_sample_value("camp_cache_requests_total", labels) or 0.0


async def demoted(client: httpx.AsyncClient, project: str, role: ProjectRole | None) -> None:
    members = client.app.state.members  # type: ignore[attr-defined]
    listed = (await client.get(f"{API}/{project}/members")).json()["items"]
    boss = next(UUID(m["user_id"]) for m in listed if m["role"] == MANAGER)
    me = await own_id(client)
    if role is None:
        await members.remove(Principal(boss, "boss"), UUID(project), me)
    else:
        await members.change(Principal(boss, "boss"), UUID(project), me, role)


async def test_projects_work_without_redis(issuer: Issuer, migrated_database_url: str) -> None:
    for variables in ({}, {"REDIS_URL": "redis://127.0.0.1:1/0"}):
        async with plain(issuer, migrated_database_url, **variables) as client:
            project = await made(client)
            await become(client, project, "VIEWER")
            assert (await client.get(f"{API}/{project}")).json()["role"] == "VIEWER"
