from __future__ import annotations

from uuid import UUID

import pytest

from camp.chats.answer import Place, parse_place, spoken_until
from camp.chats.providers import EchoProvider
from camp.errors import LastEventIdInvalid

MESSAGE = UUID("01a209d0-95a7-7c80-b5bb-789d02bbfdf6")
PROMPT = " one two\n three "


async def said(start_at: int) -> list[str]:
    return [token async for token in EchoProvider().tokens(PROMPT, start_at=start_at, delay_s=0)]


async def test_echo_goes_on_where_it_stopped() -> None:
    whole = await said(0)
    assert "".join(whole) == PROMPT.rstrip()
    for start_at in range(len(whole) + 1):
        assert await said(start_at) == whole[start_at:]


def test_place_is_question_and_token() -> None:
    assert parse_place(f"{MESSAGE}:12") == Place(MESSAGE, 12)


@pytest.mark.parametrize(
    "given", ["", "x", f"{MESSAGE}", f"{MESSAGE}:", f"{MESSAGE}:-1", f"{MESSAGE}:²", "x:1"]
)
def test_anything_else_is_no_place(given: str) -> None:
    with pytest.raises(LastEventIdInvalid):
        parse_place(given)


async def test_what_was_spoken_ends_with_the_last_token_received() -> None:
    assert await spoken_until(EchoProvider(), PROMPT, 1) == (" one", " two")


async def test_place_after_the_end_is_refused() -> None:
    with pytest.raises(LastEventIdInvalid, match="3 tokens"):
        await spoken_until(EchoProvider(), PROMPT, 3)
