"""Answers from Anthropic's Messages API."""

from collections.abc import AsyncGenerator, Sequence

import httpx2
from anthropic import AnthropicError, APIStatusError, AsyncAnthropic, Timeout
from anthropic.types import (
    AssistantMessageParam,
    MessageParam,
    RawMessageStreamEvent,
    UserMessageParam,
)

from camp.chats.model_port import (
    CONNECT_TIMEOUT_S,
    RETRIES,
    Piece,
    Turn,
    Usage,
    cut_short,
    failure,
)
from camp.config.settings import Settings

BASE_URL = "https://api.anthropic.com"


class AnthropicModel:
    """One client for the whole instance; it connects at the first question."""

    def __init__(self, settings: Settings) -> None:
        assert settings.llm_model is not None  # the settings see to it
        self.model = settings.llm_model
        self._max_tokens = settings.llm_max_tokens
        self._client = AsyncAnthropic(
            api_key=settings.anthropic_api_key,
            # Named, so that the SDK does not look into the environment by itself.
            base_url=settings.anthropic_base_url or BASE_URL,
            timeout=Timeout(settings.llm_timeout_s, connect=CONNECT_TIMEOUT_S),
            max_retries=RETRIES,
        )

    async def answer(self, turns: Sequence[Turn]) -> AsyncGenerator[Piece, None]:
        messages = [_message(turn) for turn in turns]
        prompt_tokens, whole = 0, False
        try:
            stream = await self._client.messages.create(
                model=self.model, max_tokens=self._max_tokens, messages=messages, stream=True
            )
            async with stream:
                async for event in stream:
                    if event.type == "message_start":
                        prompt_tokens = event.message.usage.input_tokens
                    whole = whole or event.type == "message_stop"
                    piece = _piece(event, prompt_tokens)
                    if piece is not None:
                        yield piece
        except (AnthropicError, httpx2.HTTPError, ValueError) as error:
            # In the middle of a stream the SDK lets pass what its client and its parser raise.
            status = error.status_code if isinstance(error, APIStatusError) else None
            raise failure(status, error) from error
        if not whole:
            raise cut_short()

    async def close(self) -> None:
        await self._client.close()


def _message(turn: Turn) -> MessageParam:
    if turn.role == "user":
        return UserMessageParam(role="user", content=turn.content)
    return AssistantMessageParam(role="assistant", content=turn.content)


def _piece(event: RawMessageStreamEvent, prompt_tokens: int) -> Piece | None:
    if event.type == "content_block_delta" and event.delta.type == "text_delta":
        return event.delta.text
    if event.type == "message_start":
        return Usage(prompt_tokens, event.message.usage.output_tokens)
    if event.type == "message_delta":
        return Usage(prompt_tokens, event.usage.output_tokens)
    return None
