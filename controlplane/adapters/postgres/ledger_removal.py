"""The end of an environment: its routes first, then its rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres import event_log
from controlplane.adapters.postgres.tables import environments
from controlplane.domain.errors import Conflict

ACTIVE = text("SELECT id FROM rollouts WHERE environment = :name AND finished_at IS NULL")
# What a silent host runs nobody knows; an agent that has left leaves its instances behind, and
# whoever deletes the environment has said its name.
RUNNING = text("""
SELECT h.name FROM hosts h JOIN environments e ON e.name = h.environment
WHERE h.environment = :name
    AND h.seen_at > clock_timestamp()
        - make_interval(secs => coalesce((e.policy ->> 'host_silence_s')::float8, 15))
    AND (jsonb_array_length(coalesce(h.report -> 'slots', '[]')) > 0
        OR EXISTS (SELECT FROM slots s WHERE s.environment = e.name AND s.host = h.name))
ORDER BY h.name
""")
# Whoever leads is fenced from here on, also where its last write hangs in a socket.
FENCE = text("UPDATE leaders SET epoch = epoch + 1 WHERE environment = :name RETURNING epoch")


async def new_epoch(connection: AsyncConnection, name: str) -> int | None:
    """The epoch of the end; None where there is no such environment.

    Before the environment's row is locked: leaders lock in this order.
    """
    found: int | None = await connection.scalar(FENCE, {"name": name})
    return found


async def delete_environment(
    connection: AsyncConnection, name: str, actor: str, withdraw: Callable[[], Awaitable[None]]
) -> None:
    """Delete a locked environment. The edges are left within the transaction: what fails there
    leaves everything as it was, and what is left behind there is written again by the next leader.

    Raises Conflict while a rollout is active or instances run, and what `withdraw` raises.
    """
    active = await connection.scalar(ACTIVE, {"name": name})
    if active is not None:
        raise Conflict(f"Rollout {active} is active in {name}; wait for it or abort it first.")
    running = list(await connection.scalars(RUNNING, {"name": name}))
    if running:
        raise Conflict(
            f"Instances of {name} run on {', '.join(running)}; stop the agents there, then the "
            "instances, and delete it once the agents have been silent for host_silence_s."
        )
    await withdraw()
    await connection.execute(delete(environments).where(environments.c.name == name))
    await event_log.append(
        connection, name, [("environment", f"{actor} deleted {name}")], data={"actor": actor}
    )
