"""What an operator does when something is lost for good: a host, or a part of the truth.

Each takes its turn with the leader on the environment's row, and raises the environment's
version, so that a leader looks again before its next step.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres import event_log
from controlplane.adapters.postgres.decoding import read_snapshot
from controlplane.adapters.postgres.store import OBSERVE, PUT_SLOTS, PUT_TABLE, as_json
from controlplane.domain.errors import Conflict, NotFound
from controlplane.domain.look import SILENT_AFTER_S
from controlplane.domain.model import Release
from controlplane.domain.routing import Published
from controlplane.domain.truth import LEAP, adopted, beyond

TURN = text("""
UPDATE environments SET version = version + 1 WHERE name = :environment RETURNING version
""")

LEADER = text("SELECT epoch FROM leaders WHERE environment = :environment FOR UPDATE")
TRUTH = text("""
SELECT l.epoch, r.revision, (
    SELECT coalesce(max((report -> 'epoch')::bigint), 0) FROM hosts h
    WHERE h.environment = l.environment) AS obeyed
FROM leaders l JOIN routing r ON r.environment = l.environment
WHERE l.environment = :environment
FOR UPDATE OF l, r
""")

RAISE_EPOCH = text("UPDATE leaders SET epoch = :epoch WHERE environment = :environment")
NO_SLOTS = text("DELETE FROM slots WHERE environment = :environment")
# Above the version that an agent may have acted on before PostgreSQL went back.
NEW_GOALS = text("""
UPDATE hosts SET desired_version = :leap + greatest(
    desired_version, coalesce((report -> 'desired_version')::bigint, 0))
WHERE environment = :environment
""")
RELEASES = text("SELECT release::text FROM releases")

HOST = text("""
SELECT drained, report IS NOT NULL AND seen_at > clock_timestamp() - make_interval(secs => :alive_s)
    AS speaks, (SELECT count(*) FROM hosts o WHERE o.environment = h.environment
        AND NOT o.drained AND o.name <> h.name) AS others
FROM hosts h WHERE environment = :environment AND name = :host
FOR UPDATE
""")

# Who is released catches up with what the environment runs.
DRAIN = text("""
UPDATE hosts SET drained = :drained, behind = NOT :drained
WHERE environment = :environment AND name = :host
""")

FORGET = (
    text("DELETE FROM slots WHERE environment = :environment AND host = :host"),
    text("""
    UPDATE routing SET revision = revision + 1, members = (
        SELECT coalesce(jsonb_agg(m), '[]') FROM jsonb_array_elements(members) m
        WHERE m ->> 'host' <> :host)
    WHERE environment = :environment AND members @> jsonb_build_array(
        jsonb_build_object('host', CAST(:host AS text)))"""),
    text("DELETE FROM hosts WHERE environment = :environment AND name = :host"),
    text("UPDATE environments SET hosts = hosts - CAST(:host AS text) WHERE name = :environment"),
)


async def accept_truth(
    connection: AsyncConnection,
    environment: str,
    known: Published,
    actor: str,
    reason: str,
    *,
    behind: bool,
) -> Published:
    """Go on from what PostgreSQL says, above everything that others know.

    `behind`: a leader said so already, of what only it can see.
    """
    # In the order of everybody: leader, environment, table.
    await connection.execute(LEADER, {"environment": environment})
    await _turn(connection, environment)
    row = (await connection.execute(TRUTH, {"environment": environment})).one()
    epoch, revision = max(row.epoch, known.epoch, row.obeyed), max(row.revision, known.revision)
    if not behind and (epoch, revision) == (row.epoch, row.revision):
        raise Conflict(
            f"PostgreSQL is not behind in {environment}: it says epoch {row.epoch} and routing"
            f" table {row.revision}, and nobody knows a later one. There is nothing to accept."
        )
    now = beyond(epoch, revision)
    mine = {"environment": environment}
    seen = read_snapshot(await connection.scalar(OBSERVE, mine))
    goals, table = adopted(seen, await _releases(connection))
    await connection.execute(RAISE_EPOCH, mine | {"epoch": now.epoch})
    await connection.execute(NO_SLOTS, mine)
    await connection.execute(PUT_SLOTS, mine | {"slots": as_json(goals)})
    members = {"revision": now.revision, "members": as_json(table.members)}
    await connection.execute(PUT_TABLE, mine | members)
    await connection.execute(NEW_GOALS, mine | {"leap": LEAP})
    message = (
        f"{actor} accepted what PostgreSQL says: epoch {row.epoch} → {now.epoch}, routing table"
        f" {row.revision} → {now.revision}"
    )
    data = {"actor": actor, "reason": reason}
    await event_log.append(connection, environment, [("truth", message)], data=data)
    return now


async def _releases(connection: AsyncConnection) -> dict[str, Release]:
    rows = (await connection.execute(RELEASES)).scalars()
    found = [msgspec.json.decode(row, type=Release) for row in rows]
    return {release.digest: release for release in found}


async def drain_host(
    connection: AsyncConnection,
    environment: str,
    host: str,
    actor: str,
    reason: str,
    *,
    drained: bool,
) -> bool:
    """Let a host carry no instances, or again; false when it is so already."""
    await _turn(connection, environment)
    row = await _host(connection, environment, host)
    if row["drained"] == drained:
        return False
    if drained and not row["others"]:
        raise Conflict(
            f"{host} is the last host of {environment} that carries instances; nothing would"
            " serve any more. Add another one first."
        )
    await connection.execute(DRAIN, {"environment": environment, "host": host, "drained": drained})
    message = f"{actor} {'drains' if drained else 'released'} {host}"
    data = {"actor": actor, "reason": reason}
    await event_log.append(connection, environment, [("host", message)], data=data)
    return True


async def forget_host(
    connection: AsyncConnection, environment: str, host: str, actor: str, reason: str
) -> None:
    """Take a host that is gone for good out of the environment, with all that is known of it."""
    await _turn(connection, environment)
    row = await _host(connection, environment, host)
    if row["speaks"]:
        raise Conflict(
            f"The agent of {host} speaks, so its instances would be left without an owner. Stop"
            f" that agent first, or empty the host with camp host drain {host}."
        )
    if not row["others"]:
        raise Conflict(f"{host} is the last host of {environment} that carries instances.")
    values = {"environment": environment, "host": host}
    for statement in FORGET:
        await connection.execute(statement, values)
    message = f"{actor} forgot {host}, with its slots and addresses"
    data = {"actor": actor, "reason": reason}
    await event_log.append(connection, environment, [("host", message)], data=data)


async def _turn(connection: AsyncConnection, environment: str) -> None:
    """Wait for the leader's step to end, and let its next one look again."""
    if await connection.scalar(TURN, {"environment": environment}) is None:
        raise NotFound(f"There is no environment {environment!r}; see camp env list.")


async def _host(connection: AsyncConnection, environment: str, host: str) -> Mapping[str, object]:
    values = {"environment": environment, "host": host, "alive_s": SILENT_AFTER_S}
    row = (await connection.execute(HOST, values)).mappings().first()
    if row is None:
        raise NotFound(f"Environment {environment} has no host {host!r}; see camp host list.")
    return dict(row)
