"""A client of the release before goes on working with this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import msgspec
import pytest

from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.domain.tokens import token_hash, token_of
from tests import previous
from tests.ledgers import furnish
from tests.previous import API, CONTROL, ask, read, spoken
from tests.service import client_of, settings

TOKEN = token_of(bytes(32))


@pytest.fixture
async def client(migrated_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(settings(migrated_database_url)) as made:
        yield made


async def opened(client: httpx.AsyncClient, title: str) -> previous.Chat:
    return read(await client.post(f"{API}/chats", json={"title": title}), previous.Chat, 201)


async def test_user_is_read_and_renamed_without_a_precondition(client: httpx.AsyncClient) -> None:
    before = read(await client.get(f"{API}/users/me"), previous.User)
    change = {"display_name": "Ada"}
    renamed = read(await client.patch(f"{API}/users/me", json=change), previous.User)
    assert (renamed.id, renamed.display_name) == (before.id, "Ada")
    assert renamed.updated_at > before.updated_at


async def test_chats_are_opened_and_listed_in_its_pages(client: httpx.AsyncClient) -> None:
    made = [await opened(client, title) for title in ("one", "two")]
    assert made[0].title == "one"
    first = read(await client.get(f"{API}/chats", params={"limit": 1}), previous.ChatPage)
    params = {"before": str(first.next)}
    rest = read(await client.get(f"{API}/chats", params=params), previous.ChatPage)
    assert {chat.id for chat in first.items + rest.items} == {chat.id for chat in made}
    assert rest.next is None


async def test_answer_is_streamed_resumed_and_kept(client: httpx.AsyncClient) -> None:
    chat = (await opened(client, "a chat")).id
    whole = await ask(client, chat, "a b c d")
    assert [event.name for event in whole] == [*["token"] * 4, "done"]
    done = msgspec.json.decode(whole[-1].data, type=previous.Done)
    assert done.tokens == 4
    for cut in (0, 2):
        rest = await ask(client, chat, "not looked at", whole[cut].id)
        assert spoken(whole[: cut + 1]) + spoken(rest) == spoken(whole) == "a b c d"
    detail = read(await client.get(f"{API}/chats/{chat}"), previous.ChatDetail)
    assert [(m.role, m.content) for m in detail.messages] == [
        ("user", "a b c d"),
        ("assistant", "a b c d"),
    ]
    assert detail.messages[1].in_reply_to == detail.messages[0].id == done.message_id


async def test_problems_have_the_shape_status_and_codes_it_knows(
    client: httpx.AsyncClient,
) -> None:
    nothing, me = f"{API}/chats/{uuid4()}", f"{API}/users/me"
    for sent, status, code in (
        (client.get(nothing), 404, "chat_not_found"),
        (client.get("/nothing"), 404, "route_not_found"),
        (client.get(me, headers={"authorization": "Bearer x"}), 401, "unauthorized"),
        (client.patch(me, json={"display_name": ""}), 400, "validation_failed"),
        (client.put(me, json={}), 405, "method_not_allowed"),
    ):
        response = await sent
        problem = read(response, previous.Problem, status)
        assert response.headers["content-type"].startswith("application/problem+json")
        assert (problem.status, problem.code) == (status, code)
        assert problem.request_id == response.headers["x-request-id"]
        assert [fault.field for fault in problem.errors] == ["display_name"] * (status == 400)


async def test_health_says_what_its_agent_and_monitoring_read(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json()["status"] == "live"
    assert read(await client.get("/health/ready"), previous.Ready).status == "ready"
    health = read(await client.get("/health"), previous.Health)
    assert (health.status, health.database, health.redis) == ("ok", "ok", "off")


async def test_control_api_is_read_by_its_tools(
    client: httpx.AsyncClient, migrated_database_url: str
) -> None:
    engine = open_engine(migrated_database_url)
    ledger = PostgresLedger(engine)
    await ledger.add_operator("alice", token_hash(TOKEN))
    await furnish(ledger, "1.0.0")
    await engine.dispose()
    client.headers["authorization"] = f"Bearer {TOKEN}"
    for path, kind in (
        ("environments", previous.Environment),
        ("releases", previous.ReleaseView),
        ("hosts", previous.Host),
        ("events/recent", previous.Event),
    ):
        assert read(await client.get(f"{CONTROL}/{path}"), list[kind]), path  # type: ignore[valid-type]
    for path in ("rollouts", "instances"):
        assert read(await client.get(f"{CONTROL}/{path}"), list[dict[str, object]]) == []
