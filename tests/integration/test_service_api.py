"""Users and chats on a real PostgreSQL, in this process."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests.service import client_of, settings
from tests.waiting import eventually

API = "/api/v1"


def events(text: str) -> list[tuple[str, dict[str, object], str | None]]:
    """(name, data, id) of each event in a whole stream; comments are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


def words(text: str) -> str:
    return "".join(str(data["text"]) for name, data, _ in events(text) if name == "token")


async def chat(client: httpx.AsyncClient, title: str = "a chat") -> str:
    response = await client.post(f"{API}/chats", json={"title": title})
    assert response.status_code == 201
    return str(response.json()["id"])


async def say(
    client: httpx.AsyncClient,
    chat_id: str,
    content: str,
    last: str | None = None,
    delay_ms: int = 0,
) -> httpx.Response:
    headers = {} if last is None else {"last-event-id": last}
    body = {"content": content, "token_delay_ms": delay_ms}
    return await client.post(f"{API}/chats/{chat_id}/stream", json=body, headers=headers)


async def test_user_is_made_on_the_first_visit_and_can_be_renamed(
    migrated_database_url: str,
) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        first = (await client.get(f"{API}/users/me")).json()
        assert first["display_name"] == "Developer"
        renamed = await client.patch(f"{API}/users/me", json={"display_name": "Ada"})
        assert (renamed.status_code, renamed.json()["display_name"]) == (200, "Ada")
    async with client_of(settings(migrated_database_url)) as client:
        again = (await client.get(f"{API}/users/me")).json()
        assert (again["id"], again["display_name"]) == (first["id"], "Ada")


async def test_first_visits_at_once_make_one_user(migrated_database_url: str) -> None:
    made = settings(migrated_database_url)
    async with client_of(made) as one, client_of(made) as other:
        seen = await asyncio.gather(*(c.get(f"{API}/users/me") for c in (one, other) * 3))
        assert len({response.json()["id"] for response in seen}) == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x00b", 7, None])
async def test_impossible_name_is_refused(migrated_database_url: str, name: object) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        response = await client.patch(f"{API}/users/me", json={"display_name": name})
        assert response.status_code == 400
        assert response.json()["errors"][0]["field"] == "display_name"


async def test_chats_are_listed_newest_first_in_pages(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        for title in ("one", "two", "three"):
            await chat(client, title)
        page = (await client.get(f"{API}/chats", params={"limit": 2})).json()
        assert {item["title"] for item in page["items"]} <= {"one", "two", "three"}
        rest = (await client.get(f"{API}/chats", params={"before": page["next"]})).json()
        ids = [item["id"] for item in page["items"] + rest["items"]]
        assert ids == sorted(ids, reverse=True)
        assert (len(ids), rest["next"]) == (3, None)


async def test_answer_is_streamed_and_kept(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        chat_id = await chat(client)
        response = await say(client, chat_id, "how are you")
        assert response.headers["content-type"].startswith("text/event-stream")
        names = [name for name, _, _ in events(response.text)]
        assert names == ["token", "token", "token", "done"]
        kept = (await client.get(f"{API}/chats/{chat_id}")).json()["messages"]
        assert [(m["role"], m["content"]) for m in kept] == [
            ("user", "how are you"),
            ("assistant", "how are you"),
        ]


async def test_answers_count_their_tokens_once(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        assert (await client.get(f"{API}/chats/usage")).json() == []
        chat_id = await chat(client)
        place = events((await say(client, chat_id, "how are you")).text)[0][2]
        await say(client, chat_id, "not looked at", last=place)
        await say(client, chat_id, "fine")
        [day] = (await client.get(f"{API}/chats/usage?days=2")).json()
        assert (day["answers"], day["prompt_tokens"], day["completion_tokens"]) == (2, 4, 4)
        kept = (await client.get(f"{API}/chats/{chat_id}")).json()["messages"]
        assert [m["completion_tokens"] for m in kept] == [None, 3, None, 1]


async def test_answer_goes_on_after_the_last_event_on_another_instance(
    migrated_database_url: str,
) -> None:
    made = settings(migrated_database_url)
    async with client_of(made) as one, client_of(made) as other:
        chat_id = await chat(one)
        whole = (await say(one, chat_id, "a b c d")).text
        for _, _, event_id in events(whole)[:-1]:
            assert event_id is not None
            rest = (await say(other, chat_id, "not looked at", last=event_id)).text
            seen = int(event_id.split(":")[1]) + 1
            assert words(rest) == words(whole)[2 * seen - 1 :]
            assert events(rest)[-1] == events(whole)[-1]
        assert len((await one.get(f"{API}/chats/{chat_id}")).json()["messages"]) == 2


async def test_place_in_no_answer_of_this_chat_is_refused(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        chat_id, foreign = await chat(client), await chat(client)
        place = events((await say(client, chat_id, "a b")).text)[0][2]
        assert place is not None
        question = place.split(":")[0]
        wrong = {
            (await say(client, chat_id, "x", last="nonsense")).json()["code"],
            (await say(client, chat_id, "x", last=f"{question}:2")).json()["code"],
        }
        assert wrong == {"last_event_id_invalid"}
        elsewhere = await say(client, foreign, "x", last=place)
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "message_not_found")


async def test_chat_of_nobody_is_not_found(migrated_database_url: str) -> None:
    nobody = "01a209d0-95a7-7c80-b5bb-789d02bbfdf6"
    async with client_of(settings(migrated_database_url)) as client:
        seen = [await client.get(f"{API}/chats/{nobody}"), await say(client, nobody, "x")]
        assert {(r.status_code, r.json()["code"]) for r in seen} == {(404, "chat_not_found")}


async def test_chat_of_another_user_is_not_found(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        chat_id = await chat(client)
        engine = client.app.state.engine  # type: ignore[attr-defined]
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO users VALUES (gen_random_uuid(), 'other', '', '', now(), now())"
            )
            await connection.exec_driver_sql(
                "UPDATE chats SET user_id = (SELECT id FROM users WHERE subject = 'other')"
            )
        assert (await client.get(f"{API}/chats/{chat_id}")).status_code == 404


async def test_streams_hold_no_connection(migrated_database_url: str) -> None:
    made = settings(
        migrated_database_url, DB_POOL_SIZE="1", DB_MAX_OVERFLOW="0", DB_POOL_TIMEOUT_S="1"
    )
    async with client_of(made) as client:
        chat_id = await chat(client)
        lifecycle = client.app.state.lifecycle  # type: ignore[attr-defined]
        streams = [
            asyncio.create_task(say(client, chat_id, "a b c d e f", delay_ms=50)) for _ in range(4)
        ]
        assert await eventually(lambda: lifecycle.chat_streams == 4)
        assert (await client.get(f"{API}/users/me")).status_code == 200
        assert "camp_db_pool_in_use 0.0" in (await client.get("/metrics")).text
        health = (await client.get("/health")).json()
        assert (health["streams"], health["requests"]) == (4, 0)
        assert {words((await stream).text) for stream in streams} == {"a b c d e f"}


async def test_silence_is_filled_with_heartbeats(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, CHAT_HEARTBEAT_S="0.05")) as client:
        text = (await say(client, await chat(client), "one", delay_ms=200)).text
        assert text.count(": heartbeat\n\n") >= 2
        assert words(text) == "one"


async def test_expired_drain_ends_chat_streams_that_then_resume(
    migrated_database_url: str,
) -> None:
    made = settings(migrated_database_url)
    async with client_of(made) as one, client_of(made) as other:
        chat_id = await chat(one)
        stream = asyncio.create_task(say(one, chat_id, "a b c d e f g h", delay_ms=40))
        lifecycle = one.app.state.lifecycle  # type: ignore[attr-defined]
        assert await eventually(lambda: lifecycle.chat_streams == 1)
        await one.post("/internal/drain", json={"deadline_s": 0.1})
        cut = (await stream).text
        assert events(cut)[-1][0] == "draining"
        last = [event_id for _, _, event_id in events(cut) if event_id][-1]
        rest = (await say(other, chat_id, "x", last=last)).text
        assert words(cut) + words(rest) == "a b c d e f g h"


async def test_answer_that_cannot_be_kept_says_so_and_can_be_had_again(
    migrated_database_url: str,
) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        chat_id = await chat(client)
        engine = client.app.state.engine  # type: ignore[attr-defined]
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$"
            )
            await connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW "
                "WHEN (NEW.role = 'assistant') EXECUTE FUNCTION refuse()"
            )
        text = (await say(client, chat_id, "a b")).text
        name, data, _ = events(text)[-1]
        assert (name, data["retryable"]) == ("error", True)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("DROP TRIGGER refuse ON messages")
        last = [event_id for _, _, event_id in events(text) if event_id][-1]
        again = (await say(client, chat_id, "x", last=last)).text
        assert [name for name, _, _ in events(again)] == ["done"]


async def test_chat_is_deleted_with_what_was_said(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        path = f"{API}/chats/{await chat(client)}"
        await client.post(f"{path}/stream", json={"content": "hello", "token_delay_ms": 0})
        assert (await client.delete(path)).status_code == 204
        for again in (await client.delete(path), await client.get(path)):
            assert (again.status_code, again.json()["code"]) == (404, "chat_not_found")
