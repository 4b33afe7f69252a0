"""What the leader's every write begins with: whoever no longer leads writes nothing.

Text, since it locks two tables in two strengths, which Core cannot say in one statement.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.domain.errors import Fenced

# The holder, too: a PostgreSQL that went back in time issues the same number a second time.
# The environment's row is locked FOR UPDATE because that also waits for, and holds off, a new
# rollout: its foreign key needs the row. The next statement then sees any that was faster.
FENCE = text("""
SELECT e.version FROM leaders l JOIN environments e ON e.name = l.environment
WHERE l.environment = :environment AND l.epoch = :epoch AND l.holder = :holder
FOR SHARE OF l FOR UPDATE OF e
""")


async def fence(connection: AsyncConnection, environment: str, epoch: int, holder: str) -> int:
    """Hold the lead until the transaction ends; returns the environment's version.

    Locks are taken in one order by everybody: leader, environment, what the environment follows,
    rollout, hosts, table. Raises Fenced.
    """
    values = {"environment": environment, "epoch": epoch, "holder": holder}
    version: int | None = await connection.scalar(FENCE, values)
    if version is None:
        raise Fenced(
            f"Epoch {epoch} of {environment} is outdated, or not {holder}'s: a newer leader exists."
        )
    return version
