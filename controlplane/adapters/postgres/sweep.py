"""What the store forgets in time, a batch at a time, in a transaction of the caller.

What somebody did stays: commands with who, when and why, and every event that names an actor. All
else is kept for as long as the environment's policy says.

Text: each statement is one set of rows that goes, with what hangs on it.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres import event_log
from controlplane.domain.look import SILENT_AFTER_S
from controlplane.domain.model import Policy
from controlplane.domain.records import SWEPT_ROWS

# Of an environment, however old: what rollbacks, reports and people look at.
LATEST_ROLLOUTS = 20

POLICY = text("SELECT policy::text FROM environments WHERE name = :environment")

# The database's clock went back since. From now on its silence counts; who speaks is heard again
# within a second.
HEAR_AGAIN = text("""
UPDATE hosts SET seen_at = clock_timestamp() - make_interval(secs => :silent_s)
WHERE environment = :environment AND seen_at > clock_timestamp()
""")

# A rule starts no version a second time, so the rollouts to what its tags name stay. Before
# revision 0015 a rollout took its commands along, so that none goes then.
ROLLOUTS = text("""
WITH latest AS (
    SELECT id FROM rollouts WHERE environment = :environment AND finished_at IS NOT NULL
    ORDER BY finished_at DESC, id DESC LIMIT :latest),
tags AS (
    SELECT t ->> 'version' AS version
    FROM follows, jsonb_array_elements(coalesce(followed -> 'tags', '[]')) t
    WHERE environment = :environment),
gone AS (
    SELECT id FROM rollouts
    WHERE environment = :environment
        AND finished_at < clock_timestamp() - make_interval(secs => :keep_s)
        AND id NOT IN (SELECT id FROM latest)
        AND EXISTS (SELECT FROM schema_history WHERE revision = '0015')
        AND NOT EXISTS (
            SELECT FROM tags WHERE tags.version = rollout -> 'target' ->> 'version')
    ORDER BY finished_at LIMIT :rows),
runs AS (
    DELETE FROM jobs USING gone WHERE environment = :environment AND jobs.rollout = gone.id),
outcomes AS (UPDATE commands SET outcome = NULL FROM gone WHERE commands.rollout = gone.id)
DELETE FROM rollouts USING gone WHERE rollouts.id = gone.id
""")

# Releases belong to all environments, so the most generous of them decides.
RELEASES = text("""
WITH used AS (
    SELECT current ->> 'version' AS version FROM environments
    UNION SELECT previous ->> 'version' FROM environments
    UNION SELECT rollout -> 'target' ->> 'version' FROM rollouts
    UNION SELECT rollout -> 'source' ->> 'version' FROM rollouts
    UNION SELECT goal -> 'release' ->> 'version' FROM slots
    UNION SELECT i ->> 'version' FROM hosts, jsonb_array_elements(images) i
    UNION SELECT t ->> 'version'
        FROM follows, jsonb_array_elements(coalesce(followed -> 'tags', '[]')) t),
patience AS (
    SELECT max(coalesce((policy ->> 'keep_releases_s')::float8, :keep_s)) AS keep_s
    FROM environments),
gone AS (
    SELECT version FROM releases, patience
    WHERE created_at < clock_timestamp() - make_interval(secs => patience.keep_s)
        AND NOT EXISTS (SELECT FROM used WHERE used.version = releases.version)
    ORDER BY created_at LIMIT :rows)
DELETE FROM releases USING gone WHERE releases.version = gone.version
RETURNING releases.version, created_by
""")

EVENTS = text("""
DELETE FROM events WHERE id IN (
    SELECT id FROM events
    WHERE environment = :environment AND data ->> 'actor' IS NULL
        AND at < clock_timestamp() - make_interval(secs => :keep_s)
    ORDER BY at LIMIT :rows)
""")


async def sweep(connection: AsyncConnection, environment: str, epoch: int) -> int:
    """Forget one batch of each kind; returns the size of the largest."""
    mine = {"environment": environment}
    policy = msgspec.json.decode(await connection.scalar(POLICY, mine), type=Policy)
    await connection.execute(HEAR_AGAIN, mine | {"silent_s": SILENT_AFTER_S})
    batch = mine | {"rows": SWEPT_ROWS}
    rollouts = await connection.execute(
        ROLLOUTS, batch | {"keep_s": policy.keep_rollouts_s, "latest": LATEST_ROLLOUTS}
    )
    releases = (
        await connection.execute(RELEASES, {"rows": SWEPT_ROWS, "keep_s": policy.keep_releases_s})
    ).all()
    events = await connection.execute(EVENTS, batch | {"keep_s": policy.keep_events_s})
    told = [
        ("release", f"release {row.version}, made known by {row.created_by}, is forgotten")
        for row in releases
    ]
    await event_log.append(connection, environment, told, epoch=epoch)
    return max(rollouts.rowcount, len(releases), events.rowcount)
