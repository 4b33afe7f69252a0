"""The truth in PostgreSQL. Reads are one statement each, so that what they see is consistent.

Text: reads are nested JSON documents, and writes set many rows from one, in one round trip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from controlplane.adapters.postgres import decoding, event_log
from controlplane.adapters.postgres.claims import put_claim
from controlplane.adapters.postgres.errors import bounded
from controlplane.adapters.postgres.fence import fence
from controlplane.adapters.postgres.sweep import sweep
from controlplane.domain.errors import NotFound, Stale
from controlplane.domain.goals import HostDesired
from controlplane.domain.model import Rollout
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.records import LOOK_VALID_S, Changes, Snapshot
from controlplane.domain.reports import HostReport

TIMEOUT_S = 4.0

OBSERVE = text("""
SELECT json_build_object(
    'now', extract(epoch FROM clock_timestamp()),
    'environment', json_build_object(
        'name', e.name, 'hosts', e.hosts, 'edges', e.edges, 'policy', e.policy, 'route', e.route,
        'version', e.version, 'current', e.current, 'previous', e.previous),
    'rollout', r.rollout,
    'slots', (
        SELECT coalesce(json_agg(goal ORDER BY host, slot), '[]')
        FROM slots WHERE environment = e.name),
    'hosts', (
        SELECT coalesce(json_agg(json_build_object(
            'name', name, 'desired_version', desired_version, 'images', images,
            'report', report, 'report_version', report_version,
            'seen_at', coalesce(extract(epoch FROM seen_at), 0), 'agent', agent,
            'drained', drained, 'behind', behind, 'holder', holder, 'rival', rival)
            ORDER BY name), '[]')
        FROM hosts WHERE environment = e.name),
    'table', (
        SELECT json_build_object('revision', revision, 'members', members)
        FROM routing WHERE environment = e.name),
    -- By the number with which an id ends: as text, /10 comes before /2.
    'jobs', (
        SELECT coalesce(json_agg(job ORDER BY substring(id from '[0-9]+$')::numeric, id), '[]')
        FROM jobs WHERE environment = e.name AND rollout = r.id),
    'schema', (SELECT coalesce(json_agg(revision), '[]') FROM schema_history),
    -- Older than the last contract: what a release with such a head relies on may be gone.
    'retired', (
        SELECT coalesce(json_agg(revision), '[]') FROM schema_history
        WHERE applied_at < (
            SELECT max(applied_at) FROM schema_history WHERE phase = 'contract')),
    'led_at', (
        SELECT coalesce(extract(epoch FROM led_at), 0)
        FROM leaders WHERE environment = e.name),
    'lost_edges', (SELECT lost_edges FROM routing WHERE environment = e.name))::text
FROM environments e
LEFT JOIN rollouts r ON r.environment = e.name AND r.finished_at IS NULL
WHERE e.name = :environment
""")

DESIRED = text("""
SELECT json_build_object(
    'host', h.name, 'epoch', l.epoch, 'version', h.desired_version,
    'protocol', l.protocol, 'holder', h.holder, 'secret', l.secret,
    'now', extract(epoch FROM clock_timestamp()),
    -- Asked for by what is being verified now: what is left of an earlier attempt is no goal.
    'agent', CASE WHEN r.state = 'verifying'
        AND (h.agent -> 'since')::float8 >= (r.rollout -> 'state_since')::float8
        THEN h.agent END,
    'policy', coalesce(r.rollout -> 'policy', e.policy),
    'slots', (
        SELECT coalesce(json_agg(goal ORDER BY slot), '[]')
        FROM slots s WHERE s.environment = e.name AND s.host = h.name),
    'images', h.images,
    'jobs', (
        SELECT coalesce(json_agg(job ORDER BY substring(id from '[0-9]+$')::numeric, id), '[]')
        FROM jobs j WHERE j.environment = e.name AND j.rollout = r.id AND j.host = h.name
            AND j.state NOT IN ('succeeded', 'failed')))::text
FROM hosts h
JOIN environments e ON e.name = h.environment
JOIN leaders l ON l.environment = h.environment
LEFT JOIN rollouts r ON r.environment = e.name AND r.finished_at IS NULL
WHERE h.environment = :environment AND h.name = :host
""")

# The host's row is locked first, as commit does, so that the two cannot deadlock over the jobs.
# A finished job stays as it is: a late report must not bring it back to life. Nor is a state that
# leaders cannot read written into what they plan from.
# Megabytes of a pull and a run's last words are kept, but are no news: nobody plans from them.
REPORT = text("""
WITH said AS (SELECT CAST(:report AS jsonb) AS report),
host AS (
    SELECT name, hosts.report IS DISTINCT FROM said.report AS differs,
        ROW(hosts.report - 'pulls' - 'jobs',
            jsonb_path_query_array(hosts.report, '$.jobs[*].state'),
            jsonb_path_query_array(hosts.report, '$.jobs[*].id'))
        IS DISTINCT FROM
        ROW(said.report - 'pulls' - 'jobs',
            jsonb_path_query_array(said.report, '$.jobs[*].state'),
            jsonb_path_query_array(said.report, '$.jobs[*].id')) AS news
    FROM hosts, said WHERE environment = :environment AND name = :host
        AND holder IN ('', said.report ->> 'agent_id')
    FOR NO KEY UPDATE OF hosts),
before AS (
    SELECT jobs.id, jobs.state FROM jobs, host, said, jsonb_array_elements(said.report -> 'jobs') j
    WHERE jobs.environment = :environment AND jobs.id = j ->> 'id'),
merged AS (
    UPDATE jobs SET job = job || jsonb_build_object('state', j -> 'state', 'detail', j -> 'detail')
    FROM host, said, jsonb_array_elements(said.report -> 'jobs') j
    WHERE jobs.environment = :environment AND jobs.id = j ->> 'id' AND jobs.host = host.name
        AND jobs.state NOT IN ('succeeded', 'failed')
        AND j ->> 'state' IN ('waiting', 'running', 'succeeded', 'failed')
        AND (job -> 'state', job -> 'detail') IS DISTINCT FROM (j -> 'state', j -> 'detail')
    RETURNING jobs.id, jobs.state),
verdict AS (
    SELECT name, differs, news OR EXISTS (
        SELECT FROM merged LEFT JOIN before USING (id)
        WHERE merged.state IS DISTINCT FROM before.state) AS changed
    FROM host)
UPDATE hosts SET
    seen_at = clock_timestamp(),
    report = CASE WHEN differs THEN said.report ELSE hosts.report END,
    report_version = report_version + changed::integer
FROM verdict, said
WHERE hosts.environment = :environment AND hosts.name = verdict.name
RETURNING changed
""")

EPOCH = text("SELECT epoch FROM leaders WHERE environment = :environment")

LED = text("""
UPDATE leaders SET led_at = clock_timestamp()
WHERE environment = :environment AND epoch = :epoch
RETURNING epoch
""")

CLAIM = text("""
UPDATE leaders SET
    epoch = epoch + 1, holder = :holder, taken_at = clock_timestamp(), protocol = :protocol,
    secret = CASE WHEN secret = '' THEN gen_random_uuid()::text || gen_random_uuid()::text
        ELSE secret END
WHERE environment = :environment AND epoch = :seen
RETURNING epoch
""")

LOCK_SEEN = text("""
WITH r AS (
    SELECT id, version FROM rollouts WHERE environment = :environment AND finished_at IS NULL
    FOR UPDATE),
h AS (
    SELECT name, desired_version, report_version FROM hosts WHERE environment = :environment
    ORDER BY name FOR NO KEY UPDATE),
t AS (SELECT revision FROM routing WHERE environment = :environment FOR NO KEY UPDATE)
SELECT json_build_object(
    'now', extract(epoch FROM clock_timestamp()),
    'rollout', (SELECT json_build_array(id, version) FROM r),
    'hosts', (
        SELECT coalesce(
            json_agg(json_build_array(name, desired_version, report_version) ORDER BY name), '[]')
        FROM h),
    'table', (SELECT revision FROM t))::text
""")

PUT_SLOTS = text("""
INSERT INTO slots (environment, host, slot, goal)
SELECT :environment, g ->> 'host', (g ->> 'slot')::integer, g
FROM jsonb_array_elements(CAST(:slots AS jsonb)) g
ON CONFLICT (environment, host, slot) DO UPDATE SET goal = excluded.goal
""")

FREE_SLOTS = text("""
DELETE FROM slots USING jsonb_array_elements(CAST(:freed AS jsonb)) f
WHERE environment = :environment AND host = f ->> 0 AND slot = (f ->> 1)::integer
""")

PUT_JOBS = text("""
INSERT INTO jobs (id, environment, job)
SELECT j ->> 'id', :environment, j FROM jsonb_array_elements(CAST(:jobs AS jsonb)) j
ON CONFLICT (id) DO UPDATE SET job = excluded.job
""")

TOUCH_HOSTS = text("""
UPDATE hosts SET
    desired_version = desired_version + 1,
    images = coalesce(CAST(:images AS jsonb) -> name, images),
    agent = coalesce(CAST(:agents AS jsonb) -> name, agent),
    behind = coalesce((CAST(:behind AS jsonb) -> name)::boolean, behind)
WHERE environment = :environment AND CAST(:touched AS jsonb) ? name
""")

PUT_TABLE = text("""
UPDATE routing SET revision = :revision, members = CAST(:members AS jsonb)
WHERE environment = :environment
""")

PUT_LOST_EDGES = text("""
UPDATE routing SET lost_edges = CAST(:edges AS jsonb) WHERE environment = :environment
""")

PUT_ROLLOUT = text("""
UPDATE rollouts SET
    rollout = CAST(:rollout AS jsonb),
    finished_at = CASE WHEN CAST(:finished AS boolean) THEN clock_timestamp() END
WHERE environment = :environment AND id = :id
""")

# Nobody plans from it, so it is no change of the row that others compare.
PUT_DETAIL = text("""
UPDATE rollouts SET
    rollout = jsonb_set(rollout, '{blocker,detail}', to_jsonb(CAST(:detail AS text)))
WHERE environment = :environment AND id = :id AND rollout ->> 'blocker' IS NOT NULL
""")

PUT_HELD = text("""
UPDATE environments SET
    current = CAST(:current AS jsonb), previous = CAST(CAST(:previous AS text) AS jsonb)
WHERE name = :environment
""")


class _Versions(msgspec.Struct):
    now: float
    rollout: tuple[str, int] | None
    hosts: list[tuple[str, int, int]]
    table: int


_versions = msgspec.json.Decoder(_Versions)


class PostgresStore:
    """One environment's rows. The engine is shared with others and closed by its owner.

    An environment that was never applied raises NotFound, except in `desired` and `report`, whose
    answers (None, False) already say that the host is not known.
    """

    def __init__(self, engine: AsyncEngine, environment: str, timeout_s: float = TIMEOUT_S) -> None:
        self._engine = engine
        # A single statement needs no BEGIN and COMMIT around it: a third of the round trips.
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._environment = environment
        self._timeout_s = timeout_s

    async def claim_epoch(self, holder: str, seen: int) -> bool:
        return await self._one(CLAIM, holder=holder, seen=seen, protocol=PROTOCOL) is not None

    async def epoch(self) -> int:
        issued: int | None = await self._one(EPOCH)
        if issued is None:
            raise self._unknown()
        return issued

    async def led(self, epoch: int) -> bool:
        return await self._one(LED, epoch=epoch) is not None

    async def observe(self) -> Snapshot:
        found = await self._one(OBSERVE)
        if found is None:
            raise self._unknown()
        return decoding.read_snapshot(found)

    async def desired(self, host: str) -> HostDesired | None:
        found = await self._one(DESIRED, host=host)
        return None if found is None else decoding.read_desired(found)

    async def claim(self, host: str, agent: str) -> str:
        async with bounded(self._timeout_s), self._engine.begin() as connection:
            return await put_claim(connection, self._environment, host, agent)

    async def tell(self, events: tuple[tuple[str, str], ...]) -> None:
        async with bounded(self._timeout_s), self._engine.begin() as connection:
            await event_log.append(connection, self._environment, events)

    async def report(self, report: HostReport) -> bool:
        return bool(await self._one(REPORT, host=report.host, report=as_json(report)))

    async def commit(self, epoch: int, holder: str, seen: Snapshot, changes: Changes) -> None:
        async with bounded(self._timeout_s, Stale), self._engine.begin() as connection:
            version = await fence(connection, self._environment, epoch, holder)
            await self._refuse_outdated(connection, version, seen, changes)
            await self._write(connection, changes, seen)
            await connection.execute(LED, {"environment": self._environment, "epoch": epoch})
            await event_log.append(
                connection,
                self._environment,
                changes.events,
                rollout=None if seen.rollout is None else seen.rollout.id,
                epoch=epoch,
            )

    async def sweep(self, epoch: int, holder: str) -> int:
        async with bounded(self._timeout_s, Stale), self._engine.begin() as connection:
            await fence(connection, self._environment, epoch, holder)
            return await sweep(connection, self._environment, epoch)

    async def _refuse_outdated(
        self, connection: AsyncConnection, version: int, seen: Snapshot, changes: Changes
    ) -> None:
        """Lock what was seen, in the order rollout, hosts, table."""
        mine = {"environment": self._environment}
        if version != seen.environment.version:
            raise Stale("The environment's policy has changed; look again.")
        now = _versions.decode(await connection.scalar(LOCK_SEEN, mine))
        if abs(now.now - seen.now) > LOOK_VALID_S:
            raise Stale("The look is too old to act on; look again.")
        active = _row_version(seen.rollout)
        if now.rollout != active:
            raise Stale("The active rollout has changed; look again.")
        if changes.rollout is not None and (active is None or changes.rollout.id != active[0]):
            raise Stale(f"Rollout {changes.rollout.id} is not the active one; look again.")
        if now.hosts != [(h.name, h.desired_version, h.report_version) for h in seen.hosts]:
            raise Stale("A host has changed; look again.")
        if now.table != seen.table.revision:
            raise Stale("The routing table has changed; look again.")

    async def _write(self, connection: AsyncConnection, changes: Changes, seen: Snapshot) -> None:
        for statement, values in _statements(changes, seen):
            await connection.execute(statement, {"environment": self._environment} | values)

    async def _one(self, statement: Any, **values: Any) -> Any:
        async with bounded(self._timeout_s), self._single.connect() as connection:
            return await connection.scalar(statement, {"environment": self._environment} | values)

    def _unknown(self) -> NotFound:
        return NotFound(
            f"There is no environment {self._environment}; make it with `camp env apply FILE`."
        )


def _statements(changes: Changes, seen: Snapshot) -> list[tuple[Any, dict[str, Any]]]:
    """What to execute for the changes, with values."""
    todo: list[tuple[Any, dict[str, Any]]] = []
    if changes.slots:
        todo.append((PUT_SLOTS, {"slots": as_json(changes.slots)}))
    if changes.freed:
        todo.append((FREE_SLOTS, {"freed": as_json(changes.freed)}))
    if changes.jobs:
        todo.append((PUT_JOBS, {"jobs": as_json(changes.jobs)}))
    if touched := _touched(changes):
        goals = {
            "images": as_json(dict(changes.images)),
            "agents": as_json(dict(changes.agents)),
            "behind": as_json(dict(changes.behind)),
        }
        todo.append((TOUCH_HOSTS, goals | {"touched": as_json(sorted(touched))}))
    if changes.table is not None:
        table = changes.table
        todo.append((PUT_TABLE, {"revision": table.revision, "members": as_json(table.members)}))
    if changes.lost_edges is not None:
        todo.append((PUT_LOST_EDGES, {"edges": as_json(sorted(changes.lost_edges))}))
    if changes.rollout is not None and seen.rollout is not None:
        values = _rollout_values(changes.rollout, seen.rollout.version)
        todo.append((PUT_ROLLOUT, values))
    if changes.detail is not None and seen.rollout is not None:
        todo.append((PUT_DETAIL, {"id": seen.rollout.id, "detail": changes.detail}))
    if changes.held is not None:
        current, previous = changes.held
        values = {"current": as_json(current), "previous": previous and as_json(previous)}
        todo.append((PUT_HELD, values))
    return todo


def _touched(changes: Changes) -> set[str]:
    return (
        {goal.host for goal in changes.slots}
        | {host for host, _ in changes.freed}
        | {host for host, _ in changes.images}
        | {host for host, _ in changes.agents}
        | {host for host, _ in changes.behind}
        | {job.host for job in changes.jobs}
    )


def _rollout_values(rollout: Rollout, version: int) -> dict[str, Any]:
    """The row of a rollout, one version further than the one that was seen."""
    stored = replace(rollout, version=version + 1)
    return {"id": rollout.id, "rollout": as_json(stored), "finished": not rollout.active}


def _row_version(rollout: Rollout | None) -> tuple[str, int] | None:
    return None if rollout is None else (rollout.id, rollout.version)


def as_json(value: Any) -> str:
    """Structs as the statements take them."""
    return msgspec.json.encode(value).decode()
