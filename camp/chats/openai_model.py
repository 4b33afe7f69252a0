"""Answers from OpenAI's Chat Completions API, at OpenAI, at Azure or at one that speaks it."""

from collections.abc import AsyncGenerator, Sequence

import httpx2
from openai import APIStatusError, AsyncAzureOpenAI, AsyncOpenAI, OpenAIError, Timeout
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionMessageParam,
    ChatCompletionUserMessageParam,
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

BASE_URL = "https://api.openai.com/v1"


class OpenAIModel:
    """One client for the whole instance; it connects at the first question."""

    def __init__(self, settings: Settings) -> None:
        assert settings.llm_model is not None  # the settings see to it
        self.model = settings.llm_model
        self._max_tokens = settings.llm_max_tokens
        self._client = _client(settings)

    async def answer(self, turns: Sequence[Turn]) -> AsyncGenerator[Piece, None]:
        whole = False
        try:
            stream = await self._client.chat.completions.create(
                model=self.model,
                max_completion_tokens=self._max_tokens,
                messages=[_message(turn) for turn in turns],
                stream=True,
                stream_options={"include_usage": True},
            )
            async with stream:
                async for chunk in stream:
                    # Azure's first chunk has no choice, and the last one has the usage only.
                    for choice in chunk.choices:
                        whole = whole or choice.finish_reason is not None
                        if choice.delta.content:
                            yield choice.delta.content
                    if chunk.usage is not None:
                        yield Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        except (OpenAIError, httpx2.HTTPError, ValueError) as error:
            # In the middle of a stream the SDK lets pass what its client and its parser raise.
            status = error.status_code if isinstance(error, APIStatusError) else None
            raise failure(status, error) from error
        if not whole:
            raise cut_short()

    async def close(self) -> None:
        await self._client.close()


def _client(settings: Settings) -> AsyncOpenAI:
    timeout = Timeout(settings.llm_timeout_s, connect=CONNECT_TIMEOUT_S)
    if settings.llm_provider == "azure_openai":
        assert settings.azure_openai_endpoint is not None  # the settings see to it
        return AsyncAzureOpenAI(
            azure_endpoint=settings.azure_openai_endpoint,
            azure_deployment=settings.llm_model,
            api_version=settings.azure_openai_api_version,
            api_key=settings.azure_openai_api_key,
            timeout=timeout,
            max_retries=RETRIES,
        )
    return AsyncOpenAI(
        api_key=settings.openai_api_key,
        # Named, so that the SDK does not look into the environment by itself.
        base_url=settings.openai_base_url or BASE_URL,
        timeout=timeout,
        max_retries=RETRIES,
    )


def _message(turn: Turn) -> ChatCompletionMessageParam:
    if turn.role == "user":
        return ChatCompletionUserMessageParam(role="user", content=turn.content)
    return ChatCompletionAssistantMessageParam(role="assistant", content=turn.content)
