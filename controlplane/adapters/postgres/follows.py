"""What an environment follows, in PostgreSQL: read in one statement, written under the fence.

Text: a look is one nested JSON document, which PostgreSQL builds and msgspec reads at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from controlplane.adapters.postgres import event_log
from controlplane.adapters.postgres.fence import fence
from controlplane.adapters.postgres.ledger_releases import put_release
from controlplane.adapters.postgres.ledger_rollouts import begin_rollout
from controlplane.adapters.postgres.session import reading, writing
from controlplane.domain.errors import Stale
from controlplane.domain.follow import StartMode
from controlplane.domain.model import Kind, Rollout
from controlplane.domain.sightings import FollowLook, Record
from controlplane.ports.ledger import Start

WATCHER = "watcher"

LOOK = text("""
SELECT json_build_object(
    'now', extract(epoch FROM clock_timestamp()),
    'environment', e.name,
    'version', f.version,
    'rule', f.rule,
    'followed', f.followed,
    'known', (SELECT coalesce(json_object_agg(version, digest), '{}') FROM releases),
    'current', e.current ->> 'version',
    'tried', (
        SELECT coalesce(json_agg(DISTINCT rollout -> 'target' ->> 'version'), '[]')
        FROM rollouts WHERE environment = e.name),
    'active', (
        SELECT id FROM rollouts WHERE environment = e.name AND finished_at IS NULL))::text
FROM follows f JOIN environments e ON e.name = f.environment
WHERE f.environment = :environment
""")

LOCK = text("SELECT version FROM follows WHERE environment = :environment FOR UPDATE")

REMEMBER = text("""
UPDATE follows SET followed = CAST(:followed AS jsonb), version = version + 1
WHERE environment = :environment
""")

_looks = msgspec.json.Decoder(FollowLook)


class PostgresFollows:
    """Implements the Follows port for one environment over an engine it does not own."""

    def __init__(
        self,
        engine: AsyncEngine,
        environment: str,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._engine = engine
        self._environment = environment
        self._entropy = entropy

    async def look(self) -> FollowLook | None:
        async with reading(self._engine) as connection:
            found = await connection.scalar(LOOK, {"environment": self._environment})
            return None if found is None else _looks.decode(found)

    async def record(self, epoch: int, holder: str, seen: FollowLook, record: Record) -> None:
        async with writing(self._engine) as connection:
            await self._refuse_outdated(connection, epoch, holder, seen)
            # In one order, so that two environments that see the same tags cannot deadlock.
            for release in sorted(record.releases, key=lambda release: release.version):
                await put_release(connection, release, WATCHER)
            followed = msgspec.json.encode(record.followed).decode()
            values = {"environment": self._environment, "followed": followed}
            await connection.execute(REMEMBER, values)
            data = {"actor": WATCHER}
            await event_log.append(
                connection, self._environment, record.events, epoch=epoch, data=data
            )

    async def start(
        self,
        epoch: int,
        holder: str,
        seen: FollowLook,
        version: str,
        digest: str,
        *,
        reason: str,
    ) -> Rollout:
        wish = Start(
            environment=self._environment,
            kind=Kind.DEPLOY,
            version=version,
            actor=WATCHER,
            reason=reason,
            key=f"{WATCHER}:{self._environment}:{digest}",
        )
        waits = seen.rule.start is StartMode.APPROVAL
        async with writing(self._engine) as connection:
            await self._refuse_outdated(connection, epoch, holder, seen)
            return await begin_rollout(connection, wish, self._entropy, needs_approval=waits)

    async def _refuse_outdated(
        self, connection: AsyncConnection, epoch: int, holder: str, seen: FollowLook
    ) -> None:
        """Hold the lead, as every leader's write does, then the row that was seen."""
        await fence(connection, self._environment, epoch, holder)
        values = {"environment": self._environment}
        if await connection.scalar(LOCK, values) != seen.version:
            raise Stale("What the environment follows has changed; look again.")
