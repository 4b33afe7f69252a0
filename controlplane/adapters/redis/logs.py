"""Log requests over Redis: a list of questions for each host, a list for each answer.

    camp:{environment}:logs:{host}        questions, oldest first
    camp:{environment}:logs:answer:{id}   one answer

Both expire: who asked has gone by then. A nudge on the topic `logs:{host}` wakes the agent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import cast
from uuid import uuid4

import msgspec
from redis.asyncio import Redis

from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import translated
from controlplane.domain.errors import AgentSilent, RuntimeUnavailable
from controlplane.ports.logs import LogAnswer, LogRequest

PATIENCE_S = 5.0
EXPIRY_S = 10
# Shorter than the socket's time limit, which a longer wait would run into.
LISTEN_S = 0.5
_questions = msgspec.json.Decoder(LogRequest)
_answers = msgspec.json.Decoder(LogAnswer)


class RedisLogs:
    """The asking side for one environment."""

    def __init__(self, client: Redis, environment: str, patience_s: float = PATIENCE_S) -> None:
        self._client = client
        self._environment = environment
        self._bus = RedisBus(client, environment)
        self._patience_s = patience_s

    async def ask(self, host: str, slot: int, lines: int) -> tuple[str, ...]:
        request = LogRequest(uuid4().hex, slot, lines)
        await _send(self._client, _list(self._environment, host), request)
        await self._bus.nudge(topic(host))
        answer = await self._answer(request)
        if answer is None:
            raise AgentSilent(
                f"The agent of {host} did not answer within {self._patience_s:g} s;"
                f" `camp host show {host}` tells whether it reports. Start it there if it does not."
            )
        if answer.error:
            raise RuntimeUnavailable(answer.error)
        return answer.lines

    async def _answer(self, request: LogRequest) -> LogAnswer | None:
        end = time.monotonic() + self._patience_s
        key = _answer_list(self._environment, request.id)
        while time.monotonic() < end:
            with translated("wait for a log"):
                # The driver types its answer as awaitable or not; here it always is.
                waiting = cast("Awaitable[list[str] | None]", self._client.blpop([key], LISTEN_S))
                found = await waiting
            if found:
                return _answers.decode(found[1])
        return None


class RedisLogRequests:
    """The answering side for one host."""

    def __init__(self, client: Redis, environment: str, host: str) -> None:
        self._client = client
        self._environment = environment
        self._host = host

    async def next(self) -> LogRequest | None:
        with translated("read a request for a log"):
            key = _list(self._environment, self._host)
            found = await cast("Awaitable[str | None]", self._client.lpop(key))
        return _questions.decode(found) if found else None

    async def answer(self, request: LogRequest, answer: LogAnswer) -> None:
        await _send(self._client, _answer_list(self._environment, request.id), answer)


def topic(host: str) -> str:
    """What the agent of a host listens to for requests."""
    return f"logs:{host}"


async def _send(client: Redis, key: str, value: LogRequest | LogAnswer) -> None:
    with translated("carry a log"):
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, msgspec.json.encode(value))
            pipeline.expire(key, EXPIRY_S)
            await pipeline.execute()


def _list(environment: str, host: str) -> str:
    return f"camp:{environment}:logs:{host}"


def _answer_list(environment: str, request_id: str) -> str:
    return f"camp:{environment}:logs:answer:{request_id}"
