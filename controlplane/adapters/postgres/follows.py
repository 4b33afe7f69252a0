"""What an environment follows, in PostgreSQL: read in one statement, written under the fence."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import and_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from controlplane.adapters.postgres import event_log
from controlplane.adapters.postgres.ledger_releases import put_release
from controlplane.adapters.postgres.ledger_rollouts import begin_rollout
from controlplane.adapters.postgres.rows import plain
from controlplane.adapters.postgres.session import reading, writing
from controlplane.adapters.postgres.tables import follows, leaders
from controlplane.domain.errors import Fenced, Stale
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

    async def record(self, epoch: int, seen: FollowLook, record: Record) -> None:
        async with writing(self._engine) as connection:
            await self._refuse_outdated(connection, epoch, seen)
            for release in record.releases:
                await put_release(connection, release, WATCHER)
            await connection.execute(
                update(follows)
                .where(follows.c.environment == self._environment)
                .values(followed=plain(record.followed), version=seen.version + 1)
            )
            data = {"actor": WATCHER}
            await event_log.append(
                connection, self._environment, record.events, epoch=epoch, data=data
            )

    async def start(
        self, epoch: int, seen: FollowLook, version: str, digest: str, reason: str
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
            await self._refuse_outdated(connection, epoch, seen)
            return await begin_rollout(connection, wish, self._entropy, needs_approval=waits)

    async def _refuse_outdated(
        self, connection: AsyncConnection, epoch: int, seen: FollowLook
    ) -> None:
        """Hold the epoch, as every leader's write does, then the row that was seen."""
        mine = self._environment
        fence = select(leaders.c.epoch).where(
            and_(leaders.c.environment == mine, leaders.c.epoch == epoch)
        )
        if await connection.scalar(fence.with_for_update(read=True)) is None:
            raise Fenced(f"Epoch {epoch} of {mine} is outdated: a newer leader exists.")
        row: Any = select(follows.c.version).where(follows.c.environment == mine)
        if await connection.scalar(row.with_for_update()) != seen.version:
            raise Stale("What the environment follows has changed; look again.")
