"""Where answers come from: the echo provider, the model that is chosen, and its pace."""

import asyncio
import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import msgspec

from camp.chats.model_port import ModelProvider, Piece, Turn, Usage
from camp.config.settings import Settings
from camp.errors import ModelTimeout

_WORD = re.compile(r"\s*\S+")


class ChatProvider(Protocol):
    """Answers a prompt token by token, the same way each time.

    The same prompt gives the same tokens on every instance: that is what lets an answer go
    on elsewhere from `start_at`. What cannot promise it is a ModelProvider.
    """

    model: str

    def tokens(self, prompt: str, *, start_at: int, delay_s: float) -> AsyncGenerator[str, None]:
        """The tokens from number `start_at` (0 is the first); their concatenation is the answer."""
        ...

    def usage(self, prompt: str, spoken: int) -> Usage:
        """What the whole answer took, once all of its `spoken` tokens came."""
        ...


class EchoProvider:
    """Says the prompt's words back, one each `delay_s`."""

    model = "echo"

    async def tokens(
        self, prompt: str, *, start_at: int, delay_s: float
    ) -> AsyncGenerator[str, None]:
        for word in _WORD.findall(prompt)[start_at:]:
            await asyncio.sleep(delay_s)
            yield word

    def usage(self, prompt: str, spoken: int) -> Usage:
        return Usage(len(_WORD.findall(prompt)), spoken)


def model_of(settings: Settings) -> ModelProvider | None:
    """The model that the settings choose; None for echo. Imports the SDK it needs, no other."""
    match settings.llm_provider:
        case "anthropic":
            from camp.chats.anthropic_model import AnthropicModel

            return AnthropicModel(settings)
        case "openai" | "azure_openai":
            from camp.chats.openai_model import OpenAIModel

            return OpenAIModel(settings)
        case _:
            return None


def limits_s(settings: Settings) -> tuple[float, float, float]:
    """How long the first token, each further one and the whole answer may take."""
    whole_s = settings.llm_answer_timeout_s
    return settings.llm_timeout_s, settings.llm_token_timeout_s, whole_s


async def paced(
    pieces: AsyncGenerator[Piece, None], first_s: float, next_s: float, whole_s: float = math.inf
) -> AsyncGenerator[Piece, None]:
    """The pieces, as long as each comes in time. Raises ModelTimeout, closing the source."""
    limit_s, spoke = first_s, False
    ends = time.monotonic() + whole_s
    async with aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout(min(limit_s, ends - time.monotonic())):
                    piece = await anext(pieces, None)
            except TimeoutError:
                if time.monotonic() >= ends:
                    raise ModelTimeout(
                        f"The answer was not whole within {whole_s:g} s. Ask for a shorter one."
                    ) from None
                what = "went silent" if spoke else "did not begin"
                raise ModelTimeout(f"The model {what} for {limit_s:g} s. Ask again.") from None
            if piece is None:
                return
            if isinstance(piece, str):
                limit_s, spoke = next_s, True
            yield piece


class Aside(msgspec.Struct, frozen=True):
    """A whole answer outside of a chat, and what it took if that was told."""

    text: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None


def saying(
    echo: EchoProvider, model: ModelProvider | None, settings: Settings
) -> Callable[[str], Awaitable[Aside]]:
    """Answers a prompt outside of a chat: by the model, or else by the echo. Raises ModelFailed."""

    async def say(prompt: str) -> Aside:
        texts: list[str] = []
        usage: Usage | None = None
        async with aclosing(_pieces(prompt, echo, model, settings)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Usage):
                    usage = piece
                else:
                    texts.append(piece)
        name = echo.model if model is None else model.model
        counted = (None, None) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
        return Aside("".join(texts), name, *counted)

    return say


async def _pieces(
    prompt: str, echo: EchoProvider, model: ModelProvider | None, settings: Settings
) -> AsyncGenerator[Piece, None]:
    if model is not None:
        answer = model.answer((Turn("user", prompt),))
        async with aclosing(paced(answer, *limits_s(settings))) as pieces:
            async for piece in pieces:
                yield piece
        return
    spoken = 0
    async with aclosing(echo.tokens(prompt, start_at=0, delay_s=0)) as tokens:
        async for token in tokens:
            spoken += 1
            yield token
    yield echo.usage(prompt, spoken)
