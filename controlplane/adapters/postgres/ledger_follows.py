"""How a rule to follow a repository is stored, in a transaction of the caller."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres.rows import follow_of, followed_of, plain
from controlplane.adapters.postgres.tables import follows
from controlplane.domain.follow import carried
from controlplane.domain.policy import Draft


async def put_follow(connection: AsyncConnection, draft: Draft) -> None:
    """Make the stored rule the draft's; what was seen of the same images stays."""
    mine = follows.c.environment == draft.name
    if draft.follow is None:
        await connection.execute(delete(follows).where(mine))
        return
    row = (await connection.execute(select(follows).where(mine).with_for_update())).first()
    if row is None:
        values = {"environment": draft.name, "rule": plain(draft.follow)}
        await connection.execute(insert(follows).values(values))
        return
    before = follow_of(row.rule)
    if before is None or before == draft.follow:
        return
    followed = carried(before, followed_of(row.followed), draft.follow)
    await connection.execute(
        update(follows)
        .where(mine)
        .values(rule=plain(draft.follow), followed=plain(followed), version=row.version + 1)
    )
