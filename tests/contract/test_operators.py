"""What every ledger promises of operators."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.domain.errors import (
    Conflict,
    NotFound,
)


async def test_a_disabled_operator_is_unknown(ledger: PostgresLedger, engine: AsyncEngine) -> None:
    await ledger.add_operator("alice", "h1")
    assert await ledger.operator("h1") == "alice"
    with pytest.raises(Conflict, match="alice"):
        await ledger.add_operator("alice", "h2")
    await ledger.add_operator("bob", "h3")
    assert await ledger.revoke_operator("alice", "bob", "left the team")
    assert await ledger.operator("h1") is None
    assert await ledger.operator("h3") == "bob"


async def test_a_revocation_is_kept_with_who_asked_and_why(
    ledger: PostgresLedger, engine: AsyncEngine
) -> None:
    for name in ("alice", "bob"):
        await ledger.add_operator(name, name)
    await ledger.revoke_operator("alice", "bob", "left the team")
    assert not await ledger.revoke_operator("alice", "bob", "again")

    alice, bob = await ledger.operators()
    assert (alice.name, alice.revoked_by, bob.revoked_at) == ("alice", "bob", None)
    assert alice.revoked_at is not None
    assert alice.revoked_at >= alice.created_at
    async with engine.connect() as connection:
        audit = await connection.execute(text("SELECT kind, actor, reason FROM commands"))
        assert audit.all() == [("operator_revoke", "bob", "left the team")]
    with pytest.raises(Conflict, match="alice"):
        await ledger.add_operator("alice", "h9")


async def test_the_last_operator_cannot_be_revoked(ledger: PostgresLedger) -> None:
    for name in ("alice", "bob"):
        await ledger.add_operator(name, name)
    done = await asyncio.gather(
        ledger.revoke_operator("alice", "bob", ""),
        ledger.revoke_operator("bob", "alice", ""),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in done) == ["Conflict", "bool"]
    assert [o.revoked_at is None for o in await ledger.operators()].count(True) == 1
    with pytest.raises(NotFound, match="camp operator list"):
        await ledger.revoke_operator("nobody", "alice", "")
