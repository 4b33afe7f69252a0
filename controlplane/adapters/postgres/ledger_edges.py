"""What environments may say of their edges: nobody takes another's requests."""

from __future__ import annotations

from msgspec import convert
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import func

from controlplane.adapters.postgres.tables import environments, routing
from controlplane.domain.errors import Conflict
from controlplane.domain.model import Environment
from controlplane.domain.policy import Draft
from controlplane.domain.route import Route, collide

# Any fixed number that nobody else locks.
ROUTES_LOCK = 7_306_085_893_296_402_017


async def lock_routes(connection: AsyncConnection) -> None:
    """Environments are applied one after another: each sees the routes of all others."""
    await connection.execute(select(func.pg_advisory_xact_lock(ROUTES_LOCK)))


async def refuse_collision(connection: AsyncConnection, draft: Draft) -> None:
    """Raises Conflict when another environment could take the same requests on one edge."""
    columns = (environments.c.name, environments.c.edges, environments.c.route)
    query = select(*columns).where(environments.c.name != draft.name)
    for row in await connection.execute(query.order_by(environments.c.name)):
        other = convert(row.route, Route)
        shared = sorted(set(row.edges) & set(draft.edges))
        if shared and collide(draft.route, other):
            raise Conflict(
                f"{draft.name} ({draft.route}) and {row.name} ({other}) could take the same "
                f"requests on edge {shared[0]}; give one of them a host, a path or an entry point "
                f"of its own in [environments.{draft.name}.route]."
            )


async def refuse_under_rollout(
    connection: AsyncConnection, stored: Environment, active: str, draft: Draft
) -> None:
    """Raises Conflict unless hosts, route and edges stay, but for edges that do not answer."""
    found = await connection.execute(
        select(routing.c.lost_edges).where(routing.c.environment == draft.name)
    )
    lost = set(found.scalar() or ())
    gone, new = set(stored.edges) - set(draft.edges), set(draft.edges) - set(stored.edges)
    if (stored.hosts, stored.route) == (draft.hosts, draft.route) and not new and gone <= lost:
        return
    raise Conflict(
        f"Rollout {active} is active in {draft.name}, so its hosts, edges and route cannot change "
        "now, except that an edge may be taken out that has not confirmed for edge_silence_s; wait "
        "for it or abort it, then apply again."
    )


async def publish_anew(connection: AsyncConnection, name: str) -> None:
    """A changed route is a new table, which the edges have to confirm."""
    await connection.execute(
        update(routing).where(routing.c.environment == name).values(revision=routing.c.revision + 1)
    )
