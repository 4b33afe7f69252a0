"""Keeps what was said, whoever leaves meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from camp.chats.service import Said

log = structlog.get_logger("camp.chats")

T = TypeVar("T")
KEEP_TIMEOUT_S = 5.0


class Answers(Protocol):
    """Where answers are kept."""

    async def keep_answer(self, chat_id: UUID, question_id: UUID, said: Said) -> UUID: ...

    async def vouch(self, question_id: UUID, within_s: float) -> None: ...


class Keeping:
    """Every write is a task of its own, which ends though its reader leaves; `close` awaits it.

    Two writes of one answer may overlap: what has ended stays, whichever comes last.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._tasks: set[asyncio.Task[Any]] = set()

    async def keep(self, chat_id: UUID, question_id: UUID, said: Said) -> UUID | None:
        """The answer's id, or None when it could not be kept."""
        keeping = self._answers.keep_answer(chat_id, question_id, said)
        return await self._whole(question_id, keeping, None)

    async def vouch(self, question_id: UUID, within_s: float) -> bool:
        """Say that more comes `within_s`, without writing the text again; whether it is noted."""

        async def vouched() -> bool:
            await self._answers.vouch(question_id, within_s)
            return True

        return await self._whole(question_id, vouched(), False)

    async def close(self) -> None:
        """Wait for what is being kept."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _whole(self, question_id: UUID, work: Coroutine[Any, Any, T], otherwise: T) -> T:
        task = asyncio.create_task(_in_time(question_id, work, otherwise))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


async def _in_time(question_id: UUID, work: Coroutine[Any, Any, T], otherwise: T) -> T:
    try:
        async with asyncio.timeout(KEEP_TIMEOUT_S):
            return await work
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("answer not kept", question_id=str(question_id), cause=repr(error))
        return otherwise
