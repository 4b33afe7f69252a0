"""Where answers come from: the two ports, the echo provider, and what real models share."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal, Protocol

import msgspec
import structlog

from camp.config.settings import Settings
from camp.errors import ModelBusy, ModelFailed, ModelRefused, ModelTimeout, ModelUnavailable

log = structlog.get_logger("camp.chats")

CONNECT_TIMEOUT_S = 5.0
# The SDKs wait between attempts as the provider asks, or 0.5 s, 1 s with some jitter; they try
# again before the first byte of an answer only.
RETRIES = 2

_WORD = re.compile(r"\s*\S+")


class Usage(msgspec.Struct, frozen=True):
    """What an answer took, in the provider's tokens; of several the last one holds."""

    prompt_tokens: int
    completion_tokens: int


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


class Turn(msgspec.Struct, frozen=True):
    """What was said so far, one turn of it."""

    role: Literal["user", "assistant"]
    content: str


Piece = str | Usage


class ModelProvider(Protocol):
    """A model behind its vendor's SDK; two answers to the same prompt differ."""

    model: str

    def answer(self, turns: Sequence[Turn]) -> AsyncGenerator[Piece, None]:
        """The answer to the last turn, as it comes. Raises ModelFailed.

        Closing the generator closes the request to the provider.
        """
        ...

    async def close(self) -> None:
        """Give its connections back."""
        ...


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


def failure(status: int | None, cause: Exception) -> ModelFailed:
    """What to tell the user of an SDK's error; `status` is None when there was no answer.

    The cause goes to the log, not to the user: it may quote the service's own account.
    """
    log.warning("model failed", status=status, cause=repr(cause))
    if status is None or status < 400 or status >= 500 or status in {408, 409}:
        return ModelUnavailable("The model's provider does not answer. Ask again in a moment.")
    if status == 429:
        return ModelBusy("The model's provider is at its limit. Ask again in a minute.")
    if status in {401, 403, 404}:
        return ModelRefused(
            "The model's provider refuses this service. Tell its operator: LLM_MODEL or the"
            " provider's key is not accepted."
        )
    return ModelRefused("The model's provider refuses this question. Shorten or change it.")


def cut_short() -> ModelFailed:
    """The provider closed the stream without saying that the answer is whole."""
    return ModelUnavailable("The model stopped in the middle. Ask again.")
