"""What was said stays, whoever leaves or stalls, and is written only when there is more of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from camp.chats import answer
from camp.chats.answering import Answerer, Question
from camp.chats.keeping import Keeping
from camp.chats.model_port import Turn
from camp.chats.providers import EchoProvider, model_of
from camp.chats.service import ChatService, Said
from tests.fakes.models import FakeModels, fake_models, variables
from tests.served import serving
from tests.service import client_of, own_id, settings
from tests.waiting import eventually

API = "/api/v1/chats"


class Slow:
    """Keeps answers where they belong, once `gate` is open; `written` is what it was asked to."""

    def __init__(self, chats: ChatService) -> None:
        self._chats = chats
        self.gate = asyncio.Event()
        self.written: list[tuple[str, bool] | float] = []

    async def keep_answer(self, chat_id: UUID, question_id: UUID, said: Said) -> UUID:
        self.written.append((said.content, said.more_within_s is not None))
        await self.gate.wait()
        return await self._chats.keep_answer(chat_id, question_id, said)

    async def vouch(self, question_id: UUID, within_s: float) -> None:
        self.written.append(within_s)
        await self._chats.vouch(question_id, within_s)


@pytest.fixture
async def client(migrated_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(settings(migrated_database_url)) as made:
        yield made


def inside(client: httpx.AsyncClient) -> Any:
    return client.app.state  # type: ignore[attr-defined]


async def asked(client: httpx.AsyncClient, content: str = "one two") -> Question:
    chat_id = UUID((await client.post(API, json={})).json()["id"])
    question_id = await inside(client).chats.ask(await own_id(client), chat_id, content)
    return Question(chat_id, question_id, [Turn("user", content)])


def answerer(
    client: httpx.AsyncClient, slow: Slow, fake: FakeModels, keep_every_s: float = 60, **more: str
) -> Answerer:
    made = settings(**variables("openai", fake), **more)
    chosen = model_of(made)
    assert chosen is not None
    lifecycle = inside(client).lifecycle
    return Answerer(chosen, Keeping(slow), lifecycle, made, keep_every_s=keep_every_s)


async def left_while_keeping(events: AsyncGenerator[bytes, None], slow: Slow, tokens: int) -> None:
    """Take all the tokens, and leave when the whole answer is about to be kept."""
    for _ in range(tokens):
        assert b"event: token" in await anext(events)
    ending = asyncio.ensure_future(anext(events))
    assert await eventually(lambda: slow.written)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    await events.aclose()
    slow.gate.set()


async def test_answer_of_a_model_stays_whole_when_its_reader_leaves_while_it_is_kept(
    client: httpx.AsyncClient,
) -> None:
    async with fake_models() as fake:
        slow = Slow(inside(client).chats)
        question = await asked(client)
        answering = answerer(client, slow, fake)
        await left_while_keeping(answering.stream(question), slow, tokens=3)
        await answering.close()
        kept = await inside(client).chats.answer_to(question.question_id)
        assert (kept.content, kept.cut) == ("Good day ☀", False)


async def test_answer_of_the_echo_stays_when_its_reader_leaves_while_it_is_kept(
    client: httpx.AsyncClient,
) -> None:
    slow = Slow(inside(client).chats)
    question, keeping = await asked(client), Keeping(slow)
    wanted = answer.Answer(
        chat_id=question.chat_id, question_id=question.question_id, prompt="one two", delay_s=0
    )
    events = answer.stream(wanted, EchoProvider(), keeping, inside(client).lifecycle, 60)
    await left_while_keeping(events, slow, tokens=2)
    await keeping.close()
    kept = await inside(client).chats.answer_to(question.question_id)
    assert (kept.content, kept.cut) == ("one two", False)


async def test_what_was_said_stays_when_its_reader_leaves_and_the_instance_ends(
    client: httpx.AsyncClient,
) -> None:
    async with fake_models() as fake:
        fake.silent_after = 2
        slow = Slow(inside(client).chats)
        question = await asked(client)
        answering = answerer(client, slow, fake)
        events = answering.stream(question)
        for _ in range(2):
            await anext(events)
        await events.aclose()
        closing = asyncio.create_task(answering.close())
        assert await eventually(lambda: slow.written)
        slow.gate.set()
        await closing
        kept = await inside(client).chats.answer_to(question.question_id)
        assert (kept.content, kept.cut) == ("Good day", True)


async def test_silence_of_a_model_is_vouched_for_once_and_writes_no_text_again(
    client: httpx.AsyncClient,
) -> None:
    async with fake_models() as fake:
        fake.silent_after = 1
        slow = Slow(inside(client).chats)
        slow.gate.set()
        limits = {"LLM_TOKEN_TIMEOUT_S": "1", "STREAM_STALL_S": "3"}
        answering = answerer(client, slow, fake, keep_every_s=0.02, **limits)
        told = [event async for event in answering.stream(await asked(client))]
        await answering.close()
        assert json.loads(told[-1].split(b"data: ")[1])["code"] == "model_timeout"
        so_far, vouched, ended = slow.written
        assert (so_far, ended) == (("Good", True), ("Good", False))
        assert isinstance(vouched, float)
        assert vouched > 3


async def test_reader_that_takes_nothing_frees_the_model_and_keeps_what_was_said(
    migrated_database_url: str,
) -> None:
    async with fake_models() as fake:
        # More than the buffers of two ends of a connection hold.
        fake.tokens = ["x" * 100_000] * 200
        given = variables("openai", fake) | {"STREAM_STALL_S": "0.3"}
        async with (
            serving(migrated_database_url, variables=given) as served,
            httpx.AsyncClient(
                base_url=served.url, headers={"authorization": "Bearer camp-dev-token"}
            ) as client,
        ):
            chat_id = (await client.post(API, json={})).json()["id"]
            async with client.stream("POST", f"{API}/{chat_id}/stream", json={"content": "x"}):
                assert await eventually(lambda: served.lifecycle.chat_streams == 1)
                assert await eventually(lambda: served.lifecycle.idle)
            (_, kept) = (await client.get(f"{API}/{chat_id}")).json()["messages"]
            assert (kept["cut"], kept["content"][:1]) == (True, "x")
