"""The control API, and its client, while something under them is gone."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.client import ControlClient
from controlplane.domain.errors import (
    Unavailable,
)
from controlplane.domain.model import State
from controlplane.domain.tokens import token_hash, token_of
from tests.ledgers import (
    a_start,
    furnish,
)
from tests.served import serving

TOKEN = token_of(bytes(32))


async def test_why_says_that_redis_is_gone(engine: AsyncEngine, migrated_database_url: str) -> None:
    ledger = PostgresLedger(engine)
    await ledger.add_operator("alice", token_hash(TOKEN))
    await furnish(ledger, "1.0.0")
    rollout = await ledger.start(a_start())
    async with (
        serving(migrated_database_url, "redis://127.0.0.1:1/0") as served,
        ControlClient(served.url, TOKEN) as client,
    ):
        why = await client.why(rollout.id)
        paused = await client.steer(rollout.id, "abort")

    assert why.blocker is not None
    assert why.blocker.code == "bus_unavailable"
    assert paused.state is State.ABORTED


async def test_a_dead_database_is_a_sentence(redis_url: str) -> None:
    dead = "postgresql://nobody@127.0.0.1:1/none"
    async with (
        serving(dead, redis_url) as served,
        ControlClient(served.url, TOKEN, first_patience_s=0.2) as client,
    ):
        with pytest.raises(Unavailable, match="DATABASE_URL"):
            await client.environments()


async def test_no_control_plane_at_the_address_is_a_sentence() -> None:
    async with ControlClient("http://127.0.0.1:1", TOKEN, first_patience_s=0.2) as client:
        with pytest.raises(Unavailable, match="camp serve"):
            await client.environments()
