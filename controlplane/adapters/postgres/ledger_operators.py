"""How the ledger lists and revokes operators, in a transaction of its caller."""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import Text, and_, cast, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres.tables import commands, operators
from controlplane.domain.errors import Conflict, NotFound
from controlplane.ports.ledger import OperatorRow

KIND = "operator_revoke"
# A name is revoked once at the most: it stays taken, and its token never works again.
KEY = literal("operator/") + cast(operators.c.name, Text) + "/revoke"


async def all_operators(connection: AsyncConnection) -> tuple[OperatorRow, ...]:
    query = (
        select(operators, commands.c.actor, commands.c.at)
        .select_from(operators.outerjoin(commands, commands.c.idempotency_key == KEY))
        .order_by(operators.c.name)
    )
    return tuple(
        OperatorRow(
            name=row.name,
            created_at=row.created_at.timestamp(),
            revoked_at=row.at.timestamp() if row.disabled and row.at else None,
            revoked_by=row.actor if row.disabled and row.actor else "",
        )
        for row in await connection.execute(query)
    )


async def revoke(connection: AsyncConnection, name: str, actor: str, reason: str) -> bool:
    """Raises NotFound and Conflict as the port says."""
    # All of them: two operators who revoke each other at once must not both succeed.
    rows = await connection.execute(select(operators).order_by(operators.c.name).with_for_update())
    disabled = {row.name: row.disabled for row in rows}
    if name not in disabled:
        raise NotFound(f"There is no operator {name!r}; see camp operator list.")
    if disabled[name]:
        return False
    if sum(not gone for gone in disabled.values()) == 1:
        raise Conflict(
            f"{name} is the last operator whose token works: nobody could steer any more. "
            "Make another one first, with camp operator create NAME."
        )
    await connection.execute(
        update(operators)
        .where(and_(operators.c.name == name, operators.c.disabled.is_(False)))
        .values(disabled=True)
    )
    await connection.execute(
        upsert(commands)
        .values(
            idempotency_key=f"operator/{name}/revoke",
            kind=KIND,
            actor=actor,
            reason=reason,
            request_hash=sha256(f"{KIND} {name}".encode()).hexdigest(),
        )
        .on_conflict_do_nothing()
    )
    return True
