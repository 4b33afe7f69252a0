"""Every model behind its SDK, against a server that speaks its wire format."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from camp.chats.model_port import ModelProvider, Piece, Turn, Usage
from camp.chats.providers import model_of, paced
from camp.errors import ModelBusy, ModelFailed, ModelRefused, ModelTimeout, ModelUnavailable
from tests.fakes.models import FakeModels, fake_models, variables
from tests.service import settings
from tests.waiting import eventually

TURNS = (Turn("user", "hello"), Turn("assistant", "yes?"), Turn("user", "how are you"))

pytestmark = pytest.mark.parametrize("provider", ["anthropic", "openai", "azure_openai"])


def built(provider: str, fake: FakeModels) -> ModelProvider:
    model = model_of(settings(**variables(provider, fake)))
    assert model is not None
    return model


async def said(
    provider: str, fake: FakeModels, first_s: float = 5, next_s: float = 5
) -> list[Piece]:
    model = built(provider, fake)
    try:
        return [piece async for piece in paced(model.answer(TURNS), first_s, next_s)]
    finally:
        await model.close()


async def test_answer_comes_token_by_token_with_its_usage(provider: str) -> None:
    async with fake_models() as fake:
        pieces = await said(provider, fake)
        assert [piece for piece in pieces if isinstance(piece, str)] == ["Good", " day", " ☀"]
        assert [piece for piece in pieces if isinstance(piece, Usage)][-1] == Usage(11, 7)


async def test_model_is_told_every_turn(provider: str) -> None:
    async with fake_models() as fake:
        await said(provider, fake)
        (request,) = fake.requests
        roles = [(turn["role"], turn["content"]) for turn in request["messages"]]
        assert roles == [(turn.role, turn.content) for turn in TURNS]
        assert (request["model"], request["stream"]) == ("m-1", True)
        assert ("/deployments/m-1/" in fake.paths[0]) == (provider == "azure_openai")


@pytest.mark.parametrize("status", [429, 503])
async def test_what_may_pass_is_tried_again_before_the_first_token(
    provider: str, status: int
) -> None:
    async with fake_models() as fake:
        fake.refusals = [status, status]
        assert "Good" in await said(provider, fake)
        assert len(fake.requests) == 3


@pytest.mark.parametrize(
    ("status", "error", "retryable", "asked"),
    [
        (429, ModelBusy, True, 3),
        (500, ModelUnavailable, True, 3),
        (401, ModelRefused, False, 1),
        (400, ModelRefused, False, 1),
    ],
)
async def test_refusal_says_whether_asking_again_helps(
    provider: str, status: int, error: type[ModelFailed], retryable: bool, asked: int
) -> None:
    async with fake_models() as fake:
        fake.refusals = [status] * 9
        with pytest.raises(error) as caught:
            await said(provider, fake)
        assert (caught.value.retryable, len(fake.requests)) == (retryable, asked)


async def test_stream_that_ends_in_the_middle_is_no_answer(provider: str) -> None:
    async with fake_models() as fake:
        fake.cut_after = 2
        with pytest.raises(ModelUnavailable):
            await said(provider, fake)
        assert len(fake.requests) == 1


async def test_error_inside_the_stream_is_told(provider: str) -> None:
    async with fake_models() as fake:
        fake.overloaded = True
        with pytest.raises(ModelUnavailable):
            await said(provider, fake)


async def test_nobody_listening_is_unavailable(provider: str) -> None:
    with pytest.raises(ModelUnavailable):
        await said(provider, FakeModels(url="http://127.0.0.1:1"))


@pytest.mark.parametrize(("silent_after", "words"), [(0, "did not begin"), (1, "went silent")])
async def test_silence_ends_in_time_and_ends_the_request(
    provider: str, silent_after: int, words: str
) -> None:
    async with fake_models() as fake:
        fake.silent_after = silent_after
        limits = (0.3, 9) if silent_after == 0 else (9, 0.3)
        with pytest.raises(ModelTimeout, match=words):
            await said(provider, fake, *limits)
        assert await eventually(lambda: fake.left == 1)


async def test_leaving_ends_the_request(provider: str) -> None:
    async with fake_models() as fake:
        fake.silent_after = 1
        model = built(provider, fake)
        async with aclosing(model.answer(TURNS)) as pieces:
            async for piece in pieces:
                if piece == "Good":
                    break
        assert await eventually(lambda: fake.left == 1)
        await model.close()
