"""Chats answered by a model: streamed, kept however they end, told again elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from camp.chats import resuming
from camp.chats.service import TURNS_CHARS, Said
from tests.fakes.models import FakeModels, fake_models, variables
from tests.served import serving
from tests.service import USER, client_of, own_id, running, settings
from tests.waiting import eventually

API = "/api/v1/chats"
Told = list[tuple[str, dict[str, Any], str | None]]
SIGNED_IN = {"authorization": "Bearer camp-dev-token"}


def events(text: str) -> Told:
    """(name, data, id) of each event; comments are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


def words(told: Told) -> str:
    return "".join(data["text"] for name, data, _ in told if name == "token")


async def chat(client: httpx.AsyncClient) -> str:
    return str((await client.post(API, json={})).json()["id"])


async def say(
    client: httpx.AsyncClient, chat_id: str, content: str = "hello", last: str | None = None
) -> Told:
    headers = {} if last is None else {"last-event-id": last}
    response = await client.post(
        f"{API}/{chat_id}/stream", json={"content": content}, headers=headers
    )
    assert response.status_code == 200, response.text
    return events(response.text)


async def messages(client: httpx.AsyncClient, chat_id: str) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = (await client.get(f"{API}/{chat_id}")).json()["messages"]
    return kept


def model(url: str, fake: FakeModels, **more: str) -> Any:
    return settings(url, **variables("openai", fake), **more)


async def test_answer_of_a_model_is_streamed_kept_and_part_of_the_next_question(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        chat_id = await chat(client)
        told = await say(client, chat_id)
        assert [name for name, _, _ in told] == ["token", "token", "token", "done"]
        assert (words(told), told[-1][1]["tokens"]) == ("Good day ☀", 7)
        await say(client, chat_id, "and you?")
        asked = [turn["content"] for turn in fake.requests[-1]["messages"]]
        assert asked == ["hello", "Good day ☀", "and you?"]


async def test_answer_is_told_again_from_any_place_without_asking_the_model(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        chat_id = await chat(client)
        told = await say(client, chat_id)
        async with client_of(settings(migrated_database_url)) as other:
            for seen, (_, _, place) in enumerate(told[:-1], start=1):
                rest = await say(other, chat_id, last=place)
                assert words(told[:seen]) + words(rest) == "Good day ☀"
                assert rest[-1] == told[-1]
        assert len(fake.requests) == 1


async def test_failure_before_the_first_token_can_be_asked_again(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        chat_id = await chat(client)
        fake.refusals = [503] * 3
        ((name, data, _),) = await say(client, chat_id)
        assert (name, data["code"], data["retryable"]) == ("error", "model_unavailable", True)
        assert [m["role"] for m in await messages(client, chat_id)] == ["user"]
        assert (await say(client, chat_id))[-1][0] == "done"


async def test_failure_in_the_middle_keeps_what_was_said(migrated_database_url: str) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        chat_id = await chat(client)
        fake.cut_after = 2
        told = await say(client, chat_id)
        assert (told[-1][0], told[-1][1]["retryable"]) == ("error", False)
        assert (await messages(client, chat_id))[-1]["content"] == "Good day"
        again = await say(client, chat_id, last=told[0][2])
        assert (words(again), again[-1][1]["code"]) == (" day", "answer_cut")


@pytest.mark.parametrize("odd", ["a\x00b", "\ud83d"])
async def test_text_that_cannot_be_kept_is_made_keepable(
    migrated_database_url: str, odd: str
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        chat_id = await chat(client)
        fake.tokens = [odd, "!"]
        assert (await say(client, chat_id))[-1][0] == "done"
        assert (await messages(client, chat_id))[-1]["content"] in {"ab!", "?!"}


@pytest.mark.parametrize("place", [":@99999999", ":@0"])
async def test_place_in_an_answer_of_another_chat_is_not_found(
    migrated_database_url: str, place: str
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        chat_id, foreign = await chat(client), await chat(client)
        question = (await say(client, chat_id))[-1][1]["message_id"]
        assert (await say(client, chat_id, last=question + place))[-1][0] == "done"
        headers = {"last-event-id": question + place}
        response = await client.post(
            f"{API}/{foreign}/stream", json={"content": "x"}, headers=headers
        )
        assert (response.status_code, response.json()["code"]) == (404, "message_not_found")


async def test_leaving_ends_the_request_to_the_model_and_keeps_what_was_said(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake:
        fake.silent_after = 1
        given = variables("anthropic", fake)
        async with (
            serving(migrated_database_url, variables=given) as served,
            httpx.AsyncClient(base_url=served.url, headers=SIGNED_IN) as client,
        ):
            chat_id = await chat(client)
            place = None
            async with client.stream(
                "POST", f"{API}/{chat_id}/stream", json={"content": "x"}
            ) as response:
                async for line in response.aiter_lines():
                    if line.startswith("id: "):
                        place = line.removeprefix("id: ")
                        break
            assert await eventually(lambda: fake.left == 1)
            assert await eventually(lambda: served.lifecycle.idle)
            told = await say(client, chat_id, last=place)
            assert told[-1][1]["code"] == "answer_cut"
            assert (await messages(client, chat_id))[-1]["content"] == "Good"


async def test_expired_drain_keeps_what_was_said_for_another_instance(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake:
        made = model(migrated_database_url, fake)
        async with client_of(made) as one, client_of(made) as other:
            fake.silent_after = 2
            chat_id = await chat(one)
            saying = asyncio.create_task(say(one, chat_id))
            lifecycle = one.app.state.lifecycle  # type: ignore[attr-defined]
            assert await eventually(lambda: len(fake.requests) == 1)
            assert lifecycle.chat_streams == 1
            await one.post("/internal/drain", json={"deadline_s": 0.3})
            told = await saying
            assert (words(told), told[-1][0]) == ("Good day", "draining")
            rest = await say(other, chat_id, last=told[0][2])
            assert (words(rest), rest[-1][1]["code"]) == (" day", "answer_cut")


async def test_streams_of_a_model_hold_no_connection(migrated_database_url: str) -> None:
    async with fake_models() as fake:
        fake.silent_after = 1
        pool = {"DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0", "DB_POOL_TIMEOUT_S": "1"}
        made = model(migrated_database_url, fake, LLM_TOKEN_TIMEOUT_S="0.5", **pool)
        async with client_of(made) as client:
            chat_id = await chat(client)
            saying = [asyncio.create_task(say(client, chat_id)) for _ in range(3)]
            assert await eventually(lambda: len(fake.requests) == 3)
            assert "camp_db_pool_in_use 0.0" in (await client.get("/metrics")).text
            assert {(await task)[-1][1]["code"] for task in saying} == {"model_timeout"}


async def test_answer_that_is_still_being_said_is_waited_for(migrated_database_url: str) -> None:
    async with fake_models() as fake:
        fake.silent_after = 1
        made = model(migrated_database_url, fake, LLM_TOKEN_TIMEOUT_S="1")
        async with client_of(made) as one, client_of(made) as other:
            chat_id = await chat(one)
            saying = asyncio.create_task(say(one, chat_id))
            assert await eventually(lambda: len(fake.requests) == 1)
            question = (await messages(one, chat_id))[-1]["id"]
            again = await say(other, chat_id, last=f"{question}:@0")
            assert (words(again), again[-1][1]["code"]) == ("Good", "answer_cut")
            assert words(await saying) == "Good"


async def test_run_that_summarises_a_chat_asks_the_model(migrated_database_url: str) -> None:
    async with (
        fake_models() as fake,
        client_of(model(migrated_database_url, fake, RUN_WORKERS="1")) as client,
    ):
        chat_id = await chat(client)
        await say(client, chat_id, "bread and butter")
        work = {"kind": "summarise_chat", "input": {"chat_id": chat_id}}
        path = f"/api/v1/runs/{(await client.post('/api/v1/runs', json=work)).json()['id']}"

        async def summarised() -> bool:
            return bool((await client.get(path)).json()["state"] == "succeeded")

        assert await eventually(summarised)
        assert (await client.get(path)).json()["result"] == {
            "summary": "Good day ☀",
            "model": "m-1",
            "prompt_tokens": 11,
            "completion_tokens": 7,
        }
        assert "bread and butter" in fake.requests[-1]["messages"][-1]["content"]


async def test_summary_is_made_of_the_latest_that_a_model_takes(
    migrated_database_url: str,
) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        chats = client.app.state.chats  # type: ignore[attr-defined]
        chat_id, me = UUID(await chat(client)), await own_id(client)
        assert await chats.transcript(me, chat_id) == ""
        for number in range(4):
            await chats.ask(me, chat_id, f"{number}" + "x" * (TURNS_CHARS // 3))
        said = await chats.transcript(me, chat_id)
        assert ("user: 3x" in said, "user: 2x" in said, "user: 1x" in said) == (True, True, False)


async def test_answer_of_a_killed_instance_ends_where_it_was_kept_last(
    tmp_path: Path, migrated_database_url: str
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as other:
        fake.silent_after = 2
        chats = other.app.state.chats  # type: ignore[attr-defined]
        chat_id = await chat(other)
        with running(tmp_path, migrated_database_url, **variables("openai", fake)) as killed:
            async with httpx.AsyncClient(base_url=killed.url, headers=USER) as one:
                saying = asyncio.create_task(say(one, chat_id))
                assert await eventually(lambda: len(fake.requests) == 1)
                question = (await messages(other, chat_id))[-1]["id"]
                following = asyncio.create_task(say(other, chat_id, last=f"{question}:@0"))

                async def kept() -> bool:
                    found = await chats.answer_to(UUID(question))
                    return found is not None and found.under_way and found.content == "Good day"

                assert await eventually(kept)
                killed.process.kill()
                with pytest.raises(httpx.TransportError):
                    await saying
        told = await following
        assert (words(told), told[-1][1]["code"]) == ("Good day", "answer_cut")


async def test_answer_of_which_nothing_was_kept_is_lost_and_said_to_be(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        state = client.app.state  # type: ignore[attr-defined]
        mark = resuming.Mark(uuid4(), 0)
        told = [e async for e in resuming.stream(mark, state.chats, state.lifecycle, awaited_s=0)]
        assert events(b"".join(told).decode())[-1][1]["code"] == "answer_lost"


async def test_wait_for_an_answer_moves_on_when_the_instance_drains(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake, client_of(model(migrated_database_url, fake)) as client:
        state = client.app.state  # type: ignore[attr-defined]
        state.lifecycle.drain(0)
        await state.lifecycle.expired.wait()
        stream = resuming.stream(resuming.Mark(uuid4(), 0), state.chats, state.lifecycle)
        assert events(b"".join([e async for e in stream]).decode())[-1][0] == "draining"


async def test_whole_answer_takes_the_place_of_what_was_kept_of_it_and_stays(
    migrated_database_url: str,
) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        state = client.app.state  # type: ignore[attr-defined]
        chats, chat_id = state.chats, UUID(await chat(client))
        me = UUID((await client.get("/api/v1/users/me")).json()["id"])
        question = await chats.ask(me, chat_id, "hello")
        part, whole = Said("Good", "m", cut=True, more_within_s=60), Said("Good day", "m")
        following = resuming.stream(resuming.Mark(question, 0), chats, state.lifecycle)
        await chats.keep_answer(chat_id, question, part)
        told = [await anext(following)]
        for said in (whole, part):
            await chats.keep_answer(chat_id, question, said)
        told += [event async for event in following]
        heard = events(b"".join(told).decode())
        assert [(name, data.get("text")) for name, data, _ in heard] == [
            ("token", "Good"),
            ("token", " day"),
            ("done", None),
        ]
