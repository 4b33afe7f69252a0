"""Stores for tests, real and fake alike: what is in them, and what operators do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import and_, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres import tables
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.goals import Goal, Job, JobState, SlotGoal
from controlplane.domain.model import (
    Blocker,
    Environment,
    Kind,
    Policy,
    Release,
    Rollout,
    State,
)
from controlplane.domain.records import Changes, HostRow, Snapshot
from controlplane.domain.reports import HostReport, ImageReport, JobReport, Phase, SlotReport
from controlplane.ports.store import Store
from tests.fakes.store import FakeStore
from tests.fakes.world import World
from tests.proxy import Proxy

NAME = "test"
LEADER = "leader-1"


def release(version: str = "1.0.0") -> Release:
    return Release(version, f"sha256:{version}", f"/b/{version}", "abc", "0002", "0001", "cfg")


ENVIRONMENT = Environment(NAME, ("a", "b"), ("http://127.0.0.1:1",), Policy(max_surge="25%"))
OTHER = replace(ENVIRONMENT, name="other")


def rollout(identifier: str = "r-1", state: State = State.PROGRESSING) -> Rollout:
    return Rollout(
        id=identifier,
        environment=NAME,
        kind=Kind.DEPLOY,
        target=release("1.1.0"),
        source=release(),
        policy=Policy(drain_deadline_s=7.5),
        state=state,
        created_at=1.25,
        state_since=2.5,
        deadline_at=600.125,
        blocker=Blocker("edges", "Edge e1 has not confirmed.", 3.5, ("pause", "abort")),
    )


def goal(host: str = "a", slot: int = 1, wanted: Goal = Goal.RUN) -> SlotGoal:
    return SlotGoal(host, slot, release(), wanted, 12.5)


def report(host: str = "a", **other: Any) -> HostReport:
    slot = SlotReport(1, release().spec, Phase.READY, "127.0.0.1:18001")
    image = ImageReport("sha256:1.0.0", present=True)
    return HostReport(host, 1, 1, slots=(slot,), images=(image,), **other)


def job(identifier: str = "r-1/1", host: str = "a") -> Job:
    return Job(identifier, host, release("1.1.0"), ("migrate", "upgrade"))


def ran(state: JobState, detail: str = "") -> HostReport:
    return report(jobs=(JobReport("r-1/1", state, detail),))


class FakeGround:
    """The fake, and what operators do to it."""

    def __init__(self) -> None:
        self.fake = FakeStore(World(now=1_000.0), ENVIRONMENT)
        self.fake.schema = frozenset({"0001"})
        self.store: Store = self.fake

    async def start(self, started: Rollout) -> None:
        self.fake.start(started)

    async def steer(self, steered: Rollout) -> None:
        self.fake.steer(steered)

    async def apply(self, environment: Environment) -> None:
        self.fake.apply(environment)

    async def stored(self) -> Rollout | None:
        return self.fake.rollout

    async def events(self) -> list[tuple[str, str]]:
        return self.fake.events

    async def set_clock_back(self, host: str, seconds: float) -> None:
        """Since the host was seen."""
        row = self.fake.hosts[host]
        self.fake.hosts[host] = replace(row, seen_at=self.fake.world.now + seconds)

    async def lose(self) -> None:
        self.fake.down = True

    async def find_again(self) -> None:
        self.fake.down = False


class PostgresGround:
    """A store behind a proxy, and a way around it for what operators do."""

    def __init__(self, engine: AsyncEngine, through: AsyncEngine, proxy: Proxy) -> None:
        self.engine = engine
        self.proxy = proxy
        self.store: Store = PostgresStore(through, NAME)

    async def execute(self, *statements: Any) -> None:
        async with self.engine.begin() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def empty(self) -> None:
        await self.execute(tables.environments.delete(), tables.events.delete())

    async def add(self, environment: Environment) -> None:
        values = msgspec.to_builtins(environment)
        mine = {"environment": environment.name}
        await self.execute(
            tables.environments.insert().values(values),
            tables.leaders.insert().values(mine),
            tables.routing.insert().values(mine),
            *(tables.hosts.insert().values(name=name, **mine) for name in environment.hosts),
        )

    async def start(self, started: Rollout) -> None:
        row = {"id": started.id, "environment": started.environment}
        await self.execute(
            tables.rollouts.insert().values(rollout=msgspec.to_builtins(started), **row)
        )

    async def steer(self, steered: Rollout) -> None:
        values = msgspec.to_builtins(replace(steered, version=steered.version + 1))
        await self.execute(
            tables.rollouts.update()
            .where(tables.rollouts.c.id == steered.id)
            .values(rollout=values)
        )

    async def apply(self, environment: Environment) -> None:
        table = tables.environments
        await self.execute(
            table.update()
            .where(table.c.name == environment.name)
            .values(policy=msgspec.to_builtins(environment.policy), version=table.c.version + 1)
        )

    async def stored(self) -> Rollout | None:
        latest = select(tables.rollouts.c.rollout).order_by(tables.rollouts.c.created_at.desc())
        async with self.engine.connect() as connection:
            found = (await connection.scalars(latest)).first()
        return None if found is None else msgspec.convert(found, Rollout)

    async def events(self) -> list[tuple[str, str]]:
        columns = select(tables.events.c.kind, tables.events.c.message)
        async with self.engine.connect() as connection:
            rows = await connection.execute(columns.order_by(tables.events.c.id))
            return [(row.kind, row.message) for row in rows]

    async def set_clock_back(self, host: str, seconds: float) -> None:
        """Since the host was seen."""
        ahead = text("clock_timestamp() + make_interval(secs => :seconds)")
        mine = and_(tables.hosts.c.environment == NAME, tables.hosts.c.name == host)
        seen_at = ahead.bindparams(seconds=seconds)
        await self.execute(tables.hosts.update().where(mine).values(seen_at=seen_at))

    async def lose(self) -> None:
        await self.proxy.cut()

    async def find_again(self) -> None:
        await self.proxy.open()


Ground = FakeGround | PostgresGround


async def lead(store: Store) -> Snapshot:
    """Become the leader of epoch 1 and look."""
    assert await store.claim_epoch(LEADER, 0)
    return await store.observe()


def host(snapshot: Snapshot, name: str) -> HostRow:
    return next(row for row in snapshot.hosts if row.name == name)


async def with_job(ground: Ground) -> None:
    await ground.start(rollout())
    await ground.store.commit(1, LEADER, await lead(ground.store), Changes(jobs=(job(),)))
