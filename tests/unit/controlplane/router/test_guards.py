"""What strangers with made-up tokens cost."""

from __future__ import annotations

import pytest

from controlplane.domain.errors import NotAllowed, StoreUnavailable, TooManyFailures
from controlplane.domain.tokens import token_hash, token_of
from controlplane.router import guards
from controlplane.router.guards import Operators


def token(number: int) -> str:
    return token_of(number.to_bytes(32, "big"))


class Ground:
    """Operators over a ledger in memory that counts what it is asked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.away = False
        self.rows: dict[str, str] = {token_hash(token(1)): "alice", token_hash(token(2)): "bob"}
        self.operators = Operators(self.look_up, lambda: self.now)

    async def look_up(self, hashed: str) -> str | None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("PostgreSQL does not answer.")
        return self.rows.get(hashed)

    async def named(self, number: int, caller: str = "203.0.113.9") -> str:
        return await self.operators.named(f"Bearer {token(number)}", caller)

    async def refused(self, number: int, caller: str = "203.0.113.9") -> type[Exception]:
        with pytest.raises((NotAllowed, TooManyFailures)) as caught:
            await self.named(number, caller)
        return caught.type


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_unknown_token_is_looked_up_once_in_a_while(ground: Ground) -> None:
    assert [await ground.refused(99) for _ in range(5)] == [NotAllowed] * 5
    assert ground.asked == 1
    ground.now += guards.UNKNOWN_S
    await ground.refused(99)
    assert ground.asked == 2


@pytest.mark.parametrize("text", ["wrong", "camp_short", "camp_" + "x" * 44, "camp_" + "ü" * 43])
async def test_what_cannot_be_a_token_is_not_looked_up(ground: Ground, text: str) -> None:
    with pytest.raises(NotAllowed, match="not known"):
        await ground.operators.named(f"Bearer {text}", "203.0.113.9")
    assert ground.asked == 0


async def test_made_up_tokens_cost_a_bounded_number_of_queries(ground: Ground) -> None:
    found = [await ground.refused(number) for number in range(100, 200)]
    assert found.count(TooManyFailures) == 100 - guards.FAILURES_MAX
    assert ground.asked == guards.FAILURES_MAX
    # Others are served, and after a while whoever comes from there as well.
    assert await ground.named(1, "198.51.100.1") == "alice"
    ground.now += guards.WINDOW_S
    assert await ground.named(2) == "bob"


async def test_who_was_known_lately_passes_whatever_strangers_try(ground: Ground) -> None:
    assert await ground.named(1) == "alice"
    for number in range(100, 200):
        await ground.refused(number)
    ground.now += guards.CACHE_S
    assert await ground.named(1) == "alice"
    assert await ground.refused(2) is TooManyFailures


async def test_operators_at_work_and_a_database_that_is_away_are_no_failures(
    ground: Ground,
) -> None:
    ground.rows = {token_hash(token(n)): f"op-{n}" for n in range(1, 3 * guards.FAILURES_MAX)}
    for number in range(1, 3 * guards.FAILURES_MAX):
        assert await ground.named(number) == f"op-{number}"
    ground.away = True
    for number in range(200, 200 + 3 * guards.FAILURES_MAX):
        with pytest.raises(StoreUnavailable):
            await ground.named(number)


async def test_disabled_token_is_refused_within_seconds(ground: Ground) -> None:
    assert await ground.named(1) == "alice"
    ground.rows.clear()
    ground.now += guards.CACHE_S
    assert await ground.refused(1) is NotAllowed
