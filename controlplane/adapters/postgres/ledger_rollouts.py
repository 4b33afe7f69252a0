"""How the ledger begins and steers rollouts, each in one transaction of its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from msgspec import json
from sqlalchemy import and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres import event_log
from controlplane.adapters.postgres.rows import environment_of, plain, release_row, rollout_of
from controlplane.adapters.postgres.tables import NOW, commands, environments, releases, rollouts
from controlplane.domain.commands import Command, steer
from controlplane.domain.errors import Conflict, NotFound
from controlplane.domain.model import (
    TERMINAL,
    Environment,
    Kind,
    Release,
    Rollout,
    State,
    enter,
)
from controlplane.domain.naming import rollout_id
from controlplane.domain.starting import (
    begin,
    make_room,
    refuse_refuted,
    return_to,
    running,
    scaled,
    undo,
)
from controlplane.ports.ledger import Order, Start

Entropy = Callable[[int], bytes]
# Of rollouts that are looked through for what a rollback could go to.
HELD_MAX = 50


@dataclass(frozen=True, slots=True)
class Scene:
    """An environment under its lock: the active rollout, the latest one, the database's time."""

    environment: Environment
    active: Rollout | None
    last: Rollout | None
    now: float


async def begin_rollout(
    connection: AsyncConnection, start: Start, entropy: Entropy, *, needs_approval: bool = False
) -> Rollout:
    """`needs_approval`: whatever the policy says. Raises NotFound and Conflict as the port says."""
    scene = await _scene(connection, start.environment)
    if needs_approval:
        policy = replace(scene.environment.policy, approval=True)
        scene = replace(scene, environment=replace(scene.environment, policy=policy))
    known = await _outcome(connection, start.key, start)
    if known is not None:
        return known
    make_room(scene.active, start.supersede)
    target = await _target(connection, scene, start)
    if start.instances is not None:
        scene = await _scaled(connection, scene, start, start.instances)
    return await _insert(connection, scene, start, target, entropy)


async def steer_rollout(connection: AsyncConnection, order: Order, entropy: Entropy) -> Rollout:
    """Raises NotFound and Conflict as the port says."""
    environment = await _environment_of(connection, order.rollout)
    scene = await _scene(connection, environment)
    known = await _outcome(connection, order.key, order)
    if known is not None:
        return known
    rollout = await _rollout(connection, order.rollout)
    _expect(rollout, order.expected_version)
    if order.command is Command.ROLLBACK and not rollout.active:
        return await _undo(connection, scene, rollout, order, entropy)
    after = replace(
        steer(rollout, order.command, order.actor, scene.now), version=rollout.version + 1
    )
    await _store(connection, after)
    await _audit(connection, order.command, order, after)
    message = f"{order.actor} asked for {order.command}: {rollout.state} to {after.state}"
    await _tell(connection, after, message, order.actor, order.reason)
    return after


async def _undo(
    connection: AsyncConnection, scene: Scene, rollout: Rollout, order: Order, entropy: Entropy
) -> Rollout:
    make_room(scene.active, supersede=False)
    target = undo(scene.environment, rollout, scene.last)
    refuse_refuted(target, scene.last)
    start = Start(
        environment=scene.environment.name,
        kind=Kind.ROLLBACK,
        version=target.version,
        actor=order.actor,
        reason=order.reason or f"undoes {rollout.id}",
        key=order.key,
    )
    return await _insert(connection, scene, start, target, entropy, request=order)


async def _scene(connection: AsyncConnection, name: str) -> Scene:
    query = select(environments).where(environments.c.name == name)
    row = (await connection.execute(query.with_for_update(key_share=True))).first()
    if row is None:
        raise NotFound(
            f"There is no environment {name!r}; create it with camp env apply FILE, "
            "or see camp env list."
        )
    now = await connection.scalar(select(func.extract("epoch", func.clock_timestamp())))
    return Scene(
        environment=environment_of(row),
        active=await _latest(connection, name, active=True),
        last=await _latest(connection, name, active=False),
        now=float(now or 0.0),
    )


async def _latest(connection: AsyncConnection, name: str, *, active: bool) -> Rollout | None:
    finished = rollouts.c.finished_at
    query = (
        select(rollouts.c.rollout)
        .where(
            and_(
                rollouts.c.environment == name,
                finished.is_(None) if active else finished.is_not(None),
            )
        )
        .order_by(finished.desc(), rollouts.c.id.desc())
        .limit(1)
    )
    if active:
        query = query.with_for_update(key_share=True)
    row = (await connection.execute(query)).first()
    return None if row is None else rollout_of(row.rollout)


async def _target(connection: AsyncConnection, scene: Scene, start: Start) -> Release:
    if start.restart or start.instances is not None:
        return running(scene.environment)
    if start.version is not None:
        target = await _release(connection, start.version)
    elif start.kind is Kind.ROLLBACK:
        held = await _held(connection, start.environment)
        target = return_to(scene.environment, scene.active or scene.last, held)
    else:
        raise Conflict("A rollout needs a version to go to; see camp release list.")
    if start.kind is Kind.ROLLBACK:
        refuse_refuted(target, scene.last)
    return target


async def _held(connection: AsyncConnection, name: str) -> tuple[str, ...]:
    """The versions of the latest rollouts that succeeded here, each once."""
    query = (
        select(rollouts.c.rollout["target"]["version"].astext)
        .where(and_(rollouts.c.environment == name, rollouts.c.state == State.SUCCEEDED))
        .order_by(rollouts.c.finished_at.desc())
        .limit(HELD_MAX)
    )
    return tuple(dict.fromkeys((await connection.execute(query)).scalars()))


async def _insert(
    connection: AsyncConnection,
    scene: Scene,
    start: Start,
    target: Release,
    entropy: Entropy,
    *,
    request: Start | Order | None = None,
) -> Rollout:
    name = rollout_id(scene.now, entropy(2))
    rollout = begin(
        name,
        scene.environment,
        start.kind,
        target,
        actor=start.actor,
        reason=start.reason,
        now=scene.now,
        restart=start.restart,
    )
    verb = _verb(start)
    if scene.active is not None:
        await _supersede(connection, scene.active, rollout, scene.now)
    await connection.execute(
        insert(rollouts).values(
            id=rollout.id, environment=rollout.environment, rollout=plain(rollout), created_at=NOW
        )
    )
    await _audit(connection, verb, request or start, rollout)
    if scene.active is not None:
        message = f"superseded by {rollout.id} to {target.version}, as {start.actor} asked"
        await _tell(connection, scene.active, message, start.actor, start.reason)
    message = f"{start.actor} asked for {verb} to {target.version}"
    await _tell(connection, rollout, message, start.actor, start.reason)
    return rollout


def _verb(start: Start) -> str:
    if start.restart:
        return "restart"
    if start.instances is not None:
        return "scale"
    return "start" if start.kind is Kind.DEPLOY else "rollback"


async def _scaled(connection: AsyncConnection, scene: Scene, start: Start, instances: int) -> Scene:
    """The environment is changed together with the rollout that brings it about."""
    after = scaled(scene.environment, instances)
    await connection.execute(
        update(environments)
        .where(environments.c.name == after.name)
        .values(
            policy=plain(after.policy),
            version=after.version,
            applied_by=start.actor,
            applied_at=NOW,
        )
    )
    message = f"{start.actor} scaled {after.name} to {instances} on each host"
    data = {"actor": start.actor, "version": after.version}
    await event_log.append(connection, after.name, [("environment", message)], data=data)
    return replace(scene, environment=after)


async def _supersede(connection: AsyncConnection, active: Rollout, by: Rollout, now: float) -> None:
    cause = f"superseded by {by.id}, started by {by.created_by}"
    after = enter(active, State.SUPERSEDED, now, cause)
    await _store(connection, replace(after, version=active.version + 1))


async def _store(connection: AsyncConnection, rollout: Rollout) -> None:
    await connection.execute(
        update(rollouts)
        .where(rollouts.c.id == rollout.id)
        .values(rollout=plain(rollout), finished_at=NOW if rollout.state in TERMINAL else None)
    )


async def _tell(
    connection: AsyncConnection, rollout: Rollout, message: str, actor: str, reason: str
) -> None:
    await event_log.append(
        connection,
        rollout.environment,
        [("command", f"{message} ({reason})" if reason else message)],
        rollout=rollout.id,
        data={"actor": actor, "reason": reason, "version": rollout.version},
    )


async def _environment_of(connection: AsyncConnection, name: str) -> str:
    query = select(rollouts.c.environment).where(rollouts.c.id == name)
    found = (await connection.execute(query)).scalar()
    if found is None:
        raise NotFound(f"There is no rollout {name!r}; see camp rollout list.")
    return str(found)


async def _rollout(connection: AsyncConnection, name: str) -> Rollout:
    query = select(rollouts.c.rollout).where(rollouts.c.id == name)
    row = (await connection.execute(query.with_for_update(key_share=True))).one()
    return rollout_of(row.rollout)


async def _release(connection: AsyncConnection, version: str) -> Release:
    row = (await connection.execute(select(releases).where(releases.c.version == version))).first()
    if row is None:
        raise NotFound(
            f"There is no release {version!r}; make it known with camp release add, "
            "or see camp release list."
        )
    return release_row(row).release


def _expect(rollout: Rollout, version: int | None) -> None:
    if version is not None and version != rollout.version:
        raise Conflict(
            f"Rollout {rollout.id} has changed since you looked: it is {rollout.state} now "
            f"(version {rollout.version}, not {version}); look again and repeat."
        )


async def _outcome(connection: AsyncConnection, key: str, request: Start | Order) -> Rollout | None:
    """What the first request with this key got. The environment's lock makes us wait for it."""
    if not key:
        return None
    query = select(commands.c.request_hash, commands.c.outcome).where(
        commands.c.idempotency_key == key
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    if row.request_hash != _hash(request):
        raise Conflict(f"The idempotency key {key!r} was used for another request; take a new key.")
    if row.outcome is None:
        raise Conflict(
            f"The idempotency key {key!r} belongs to a rollout that is no longer kept; look at what"
            " runs now, and take a new key."
        )
    return rollout_of(row.outcome)


async def _audit(
    connection: AsyncConnection, kind: str, request: Start | Order, outcome: Rollout
) -> None:
    await connection.execute(
        insert(commands).values(
            idempotency_key=request.key or f"{outcome.id}/{kind}/{outcome.version}",
            rollout=outcome.id,
            kind=kind,
            actor=request.actor,
            reason=request.reason,
            request_hash=_hash(request),
            outcome=plain(outcome),
        )
    )


def _hash(request: Start | Order) -> str:
    return sha256(json.encode(request)).hexdigest()
