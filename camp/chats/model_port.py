"""The port of models: what one is told, what it says, and how its failures are told."""

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol

import msgspec
import structlog

from camp.errors import ModelBusy, ModelFailed, ModelRefused, ModelUnavailable

log = structlog.get_logger("camp.chats")

CONNECT_TIMEOUT_S = 5.0
# The SDKs wait between attempts as the provider asks, or 0.5 s, 1 s with some jitter; they try
# again before the first byte of an answer only.
RETRIES = 2


class Usage(msgspec.Struct, frozen=True):
    """What an answer took, in the provider's tokens; of several the last one holds."""

    prompt_tokens: int
    completion_tokens: int


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
