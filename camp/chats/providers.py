"""Where answers come from: the port, and the echo provider."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

_WORD = re.compile(r"\s*\S+")


class Usage(msgspec.Struct, frozen=True):
    """What an answer took, in the provider's tokens."""

    prompt_tokens: int
    completion_tokens: int


class ChatProvider(Protocol):
    """Answers a prompt token by token.

    The same prompt must give the same tokens on every instance: that is what lets an answer go
    on elsewhere from `start_at`. A provider that cannot promise it has to keep what it said.
    """

    def tokens(self, prompt: str, *, start_at: int, delay_s: float) -> AsyncGenerator[str, None]:
        """The tokens from number `start_at` (0 is the first); their concatenation is the answer."""
        ...

    def usage(self, prompt: str, spoken: int) -> Usage:
        """What the whole answer took, once all of its `spoken` tokens came."""
        ...


class EchoProvider:
    """Says the prompt's words back, one each `delay_s`."""

    async def tokens(
        self, prompt: str, *, start_at: int, delay_s: float
    ) -> AsyncGenerator[str, None]:
        for word in _WORD.findall(prompt)[start_at:]:
            await asyncio.sleep(delay_s)
            yield word

    def usage(self, prompt: str, spoken: int) -> Usage:
        return Usage(len(_WORD.findall(prompt)), spoken)
