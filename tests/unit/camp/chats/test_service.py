from __future__ import annotations

from camp.chats.model_port import Turn
from camp.chats.service import TURNS_CHARS, bounded


def turns(*lengths: int) -> list[Turn]:
    """Newest first, as the database gives them; the newest is the question."""
    texts = ["x" * length for length in lengths]
    return [Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def test_model_is_told_whole_turns_in_order_as_far_as_they_fit() -> None:
    given = turns(1, 2, 3, TURNS_CHARS)
    assert bounded(given) == given[2::-1]


def test_question_is_told_however_long_it_is() -> None:
    given = turns(TURNS_CHARS + 1, 1)
    assert bounded(given) == given[:1]


def test_first_turn_told_is_never_an_answer() -> None:
    given = turns(1, 2, TURNS_CHARS)
    assert bounded(given) == given[:1]
