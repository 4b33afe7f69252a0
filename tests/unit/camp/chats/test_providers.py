from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from camp.chats.model_port import Piece
from camp.chats.providers import paced
from camp.errors import ModelTimeout


async def test_answer_that_never_ends_is_cut_off_however_steadily_it_comes() -> None:
    async def endless() -> AsyncGenerator[Piece, None]:
        while True:
            await asyncio.sleep(0)
            yield "on and on"

    async def heard() -> int:
        async with aclosing(paced(endless(), 9, 9, 0.05)) as pieces:
            return len([piece async for piece in pieces])

    with pytest.raises(ModelTimeout, match=r"not whole within 0\.05 s"):
        await heard()
