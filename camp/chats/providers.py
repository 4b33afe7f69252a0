"""Where answers come from: the echo provider, the model that is chosen, and its pace."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

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


async def paced(
    pieces: AsyncGenerator[Piece, None], first_s: float, next_s: float
) -> AsyncGenerator[Piece, None]:
    """The pieces, as long as each comes in time. Raises ModelTimeout, closing the source."""
    limit_s, spoke = first_s, False
    async with aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    piece = await anext(pieces, None)
            except TimeoutError:
                what = "went silent" if spoke else "did not begin"
                raise ModelTimeout(f"The model {what} for {limit_s:g} s. Ask again.") from None
            if piece is None:
                return
            if isinstance(piece, str):
                limit_s, spoke = next_s, True
            yield piece


def saying(
    echo: EchoProvider, model: ModelProvider | None, settings: Settings
) -> Callable[[str], AsyncGenerator[str, None]]:
    """Answers a prompt outside of a chat: by the model, or else by the echo. Raises ModelFailed."""
    if model is None:
        return lambda prompt: echo.tokens(prompt, start_at=0, delay_s=0)

    async def say(prompt: str) -> AsyncGenerator[str, None]:
        answer = model.answer((Turn("user", prompt),))
        limits_s = settings.llm_timeout_s, settings.llm_token_timeout_s
        async with aclosing(paced(answer, *limits_s)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield piece

    return say
