"""The ledger in PostgreSQL.

Every write of one environment first locks the environment's row, as the leader's commits do:
operators and leader take turns, and whoever comes second sees what the first has written.
Locks are taken in the order that the fence gives.

Core, as in all `ledger_*` files: rows one at a time, and conditions that are put together.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlalchemy import Select, and_, delete, insert, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from controlplane.adapters.postgres import event_log
from controlplane.adapters.postgres.ledger_edges import (
    lock_routes,
    publish_anew,
    refuse_collision,
    refuse_under_rollout,
)
from controlplane.adapters.postgres.ledger_follows import put_follow
from controlplane.adapters.postgres.ledger_operators import all_operators, revoke
from controlplane.adapters.postgres.ledger_releases import put_release
from controlplane.adapters.postgres.ledger_remedies import accept_truth, drain_host, forget_host
from controlplane.adapters.postgres.ledger_removal import delete_environment, new_epoch
from controlplane.adapters.postgres.ledger_rollouts import begin_rollout, steer_rollout
from controlplane.adapters.postgres.rows import (
    environment_of,
    environment_row,
    event_of,
    plain,
    release_row,
    rollout_of,
)
from controlplane.adapters.postgres.session import reading, writing
from controlplane.adapters.postgres.tables import (
    NOW,
    environments,
    events,
    follows,
    hosts,
    leaders,
    operators,
    releases,
    rollouts,
    routing,
    slots,
)
from controlplane.domain.errors import Conflict, NotFound
from controlplane.domain.model import Environment, Release, Rollout
from controlplane.domain.policy import Draft
from controlplane.domain.routing import Published
from controlplane.ports.ledger import (
    EnvironmentRow,
    Event,
    OperatorRow,
    Order,
    ReleaseRow,
    Start,
    Withdraw,
)

WITH_ACTIVE = select(
    environments,
    select(rollouts.c.id)
    .where(and_(rollouts.c.environment == environments.c.name, rollouts.c.finished_at.is_(None)))
    .scalar_subquery()
    .label("active"),
    follows.c.rule,
    follows.c.followed,
    # How many slots shall run which version.
    literal_column(
        "(SELECT jsonb_object_agg(version, n) FROM"
        " (SELECT goal -> 'release' ->> 'version' AS version, count(*) AS n FROM slots"
        "  WHERE slots.environment = environments.name AND goal ->> 'goal' = 'run'"
        "  GROUP BY 1) AS counted)",
        JSONB,
    ).label("runs"),
).select_from(environments.outerjoin(follows, follows.c.environment == environments.c.name))


# The first version of a host's goals: above all that an agent of that name may have acted on,
# when the host was in the environment before.
FRESH = text("extract(epoch FROM clock_timestamp())::bigint")


class PostgresLedger:
    """Implements the Ledger port over an engine it does not own."""

    def __init__(
        self, engine: AsyncEngine, entropy: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._engine = engine
        self._entropy = entropy

    async def environments(self) -> tuple[EnvironmentRow, ...]:
        async with reading(self._engine) as connection:
            rows = await connection.execute(WITH_ACTIVE.order_by(environments.c.name))
            return tuple(environment_row(row) for row in rows)

    async def environment(self, name: str) -> EnvironmentRow:
        async with reading(self._engine) as connection:
            row = (await connection.execute(WITH_ACTIVE.where(environments.c.name == name))).first()
        if row is None:
            raise _unknown(name)
        return environment_row(row)

    async def apply(self, draft: Draft, actor: str, known: Published | None = None) -> bool:
        async with writing(self._engine) as connection:
            await lock_routes(connection)
            if not await _lock(connection, draft.name):
                await refuse_collision(connection, draft)
                return await _create(connection, draft, actor, known or Published(0, 0))
            # Read after the lock: a statement that waits for one still sees what was before.
            query = WITH_ACTIVE.where(environments.c.name == draft.name)
            row = (await connection.execute(query)).one()
            stored = environment_of(row)
            follow = environment_row(row).follow
            held = (stored.hosts, stored.edges, stored.policy, follow, stored.route)
            if held == (draft.hosts, draft.edges, draft.policy, draft.follow, draft.route):
                return False
            if (stored.edges, stored.route) != (draft.edges, draft.route):
                await refuse_collision(connection, draft)
            await put_follow(connection, draft)
            await _change(connection, stored, row.active, draft, actor)
            return True

    async def accept_truth(
        self, environment: str, known: Published, actor: str, reason: str, *, behind: bool = False
    ) -> Published:
        async with writing(self._engine) as connection:
            return await accept_truth(connection, environment, known, actor, reason, behind=behind)

    async def drain_host(
        self, environment: str, host: str, actor: str, reason: str, *, drained: bool
    ) -> bool:
        async with writing(self._engine) as connection:
            return await drain_host(connection, environment, host, actor, reason, drained=drained)

    async def forget_host(self, environment: str, host: str, actor: str, reason: str) -> None:
        async with writing(self._engine) as connection:
            await forget_host(connection, environment, host, actor, reason)

    async def delete(self, name: str, actor: str, withdraw: Withdraw) -> None:
        async with writing(self._engine) as connection:
            epoch = await new_epoch(connection, name)
            if epoch is None or not await _lock(connection, name):
                raise _unknown(name)
            await delete_environment(connection, name, actor, lambda: withdraw(epoch))

    async def releases(self) -> tuple[ReleaseRow, ...]:
        async with reading(self._engine) as connection:
            rows = await connection.execute(
                select(releases).order_by(releases.c.created_at.desc(), releases.c.version.desc())
            )
            return tuple(release_row(row) for row in rows)

    async def release(self, version: str) -> ReleaseRow:
        async with reading(self._engine) as connection:
            query = select(releases).where(releases.c.version == version)
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(
                f"There is no release {version!r}; make it known with camp release add, "
                "or see camp release list."
            )
        return release_row(row)

    async def add_release(self, release: Release, actor: str) -> bool:
        async with writing(self._engine) as connection:
            return await put_release(connection, release, actor)

    async def rollouts(self, environment: str | None, limit: int) -> tuple[Rollout, ...]:
        query = select(rollouts.c.rollout).order_by(
            rollouts.c.created_at.desc(), rollouts.c.id.desc()
        )
        if environment is not None:
            query = query.where(rollouts.c.environment == environment)
        async with reading(self._engine) as connection:
            rows = await connection.execute(query.limit(limit))
            return tuple(rollout_of(row.rollout) for row in rows)

    async def rollout(self, name: str) -> Rollout:
        async with reading(self._engine) as connection:
            query = select(rollouts.c.rollout).where(rollouts.c.id == name)
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(f"There is no rollout {name!r}; see camp rollout list.")
        return rollout_of(row.rollout)

    async def start(self, start: Start) -> Rollout:
        async with writing(self._engine) as connection:
            return await begin_rollout(connection, start, self._entropy)

    async def steer(self, order: Order) -> Rollout:
        async with writing(self._engine) as connection:
            return await steer_rollout(connection, order, self._entropy)

    async def events(
        self, after: int, environment: str | None, rollout: str | None, limit: int
    ) -> tuple[Event, ...]:
        query = _events_of(environment, rollout).where(events.c.id > after)
        async with reading(self._engine) as connection:
            rows = await connection.execute(query.order_by(events.c.id).limit(limit))
            return tuple(event_of(row) for row in rows)

    async def recent_events(
        self, environment: str | None, rollout: str | None, limit: int
    ) -> tuple[Event, ...]:
        query = _events_of(environment, rollout).order_by(events.c.id.desc()).limit(limit)
        async with reading(self._engine) as connection:
            rows = (await connection.execute(query)).all()
        return tuple(event_of(row) for row in reversed(rows))

    async def last_event(self) -> int:
        async with reading(self._engine) as connection:
            query = select(events.c.id).order_by(events.c.id.desc()).limit(1)
            return int((await connection.execute(query)).scalar() or 0)

    async def operator(self, token_hash: str) -> str | None:
        query = select(operators.c.name).where(
            and_(operators.c.token_hash == token_hash, operators.c.disabled.is_(False))
        )
        async with reading(self._engine) as connection:
            return (await connection.execute(query)).scalar()

    async def add_operator(self, name: str, token_hash: str) -> None:
        async with writing(self._engine) as connection:
            added = await connection.execute(
                upsert(operators)
                .values(name=name, token_hash=token_hash)
                .on_conflict_do_nothing()
                .returning(operators.c.name)
            )
            if added.first() is None:
                raise Conflict(f"There is an operator {name!r} already; choose another name.")

    async def operators(self) -> tuple[OperatorRow, ...]:
        async with reading(self._engine) as connection:
            return await all_operators(connection)

    async def revoke_operator(self, name: str, actor: str, reason: str) -> bool:
        async with writing(self._engine) as connection:
            return await revoke(connection, name, actor, reason)


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"There is no environment {name!r}; create it with camp env apply FILE, "
        "or see camp env list."
    )


def _events_of(environment: str | None, rollout: str | None) -> Select[tuple[object, ...]]:
    query = select(events)
    if environment is not None:
        query = query.where(events.c.environment == environment)
    if rollout is not None:
        query = query.where(events.c.rollout == rollout)
    return query


async def _lock(connection: AsyncConnection, name: str) -> bool:
    query = select(environments.c.name).where(environments.c.name == name)
    locked = await connection.execute(query.with_for_update(key_share=True))
    return locked.first() is not None


async def _create(connection: AsyncConnection, draft: Draft, actor: str, known: Published) -> bool:
    added = await connection.execute(
        upsert(environments)
        .values(
            name=draft.name,
            hosts=list(draft.hosts),
            edges=list(draft.edges),
            policy=plain(draft.policy),
            route=plain(draft.route),
            applied_by=actor,
        )
        .on_conflict_do_nothing()
        .returning(environments.c.name)
    )
    if added.first() is None:
        raise Conflict(f"{draft.name} was created by someone else at this moment; apply again.")
    await connection.execute(insert(leaders).values(environment=draft.name, epoch=known.epoch))
    await connection.execute(
        insert(routing).values(environment=draft.name, revision=known.revision)
    )
    await _add_hosts(connection, draft.name, draft.hosts)
    await put_follow(connection, draft)
    message = f"{actor} created {draft.name} with {len(draft.hosts)} hosts"
    await event_log.append(
        connection, draft.name, [("environment", message)], data={"actor": actor, "version": 1}
    )
    return True


async def _change(
    connection: AsyncConnection, stored: Environment, active: str | None, draft: Draft, actor: str
) -> None:
    if active is not None:
        await refuse_under_rollout(connection, stored, active, draft)
    if stored.route != draft.route:
        await publish_anew(connection, draft.name)
    removed = tuple(host for host in stored.hosts if host not in draft.hosts)
    await _remove_hosts(connection, draft.name, removed)
    added = tuple(host for host in draft.hosts if host not in stored.hosts)
    await _add_hosts(connection, draft.name, added)
    await connection.execute(
        update(environments)
        .where(environments.c.name == draft.name)
        .values(
            hosts=list(draft.hosts),
            edges=list(draft.edges),
            policy=plain(draft.policy),
            route=plain(draft.route),
            version=stored.version + 1,
            applied_by=actor,
            applied_at=NOW,
        )
    )
    message = f"{actor} changed {draft.name} to version {stored.version + 1}"
    data = {"actor": actor, "version": stored.version + 1, "added": added, "removed": removed}
    await event_log.append(connection, draft.name, [("environment", message)], data=data)


async def _add_hosts(connection: AsyncConnection, name: str, added: tuple[str, ...]) -> None:
    if added:
        await connection.execute(
            insert(hosts).values(desired_version=FRESH),
            [{"environment": name, "name": host} for host in added],
        )


async def _remove_hosts(connection: AsyncConnection, name: str, removed: tuple[str, ...]) -> None:
    if not removed:
        return
    query = select(slots.c.host).where(and_(slots.c.environment == name, slots.c.host.in_(removed)))
    used = sorted(set((await connection.execute(query)).scalars()))
    if used:
        raise Conflict(
            f"{', '.join(used)} still has instances in {name}, which would be left without an "
            "owner; keep the host in the list until its slots are empty."
        )
    await connection.execute(
        delete(hosts).where(and_(hosts.c.environment == name, hosts.c.name.in_(removed)))
    )
