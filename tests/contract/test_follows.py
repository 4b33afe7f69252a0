"""What every store of followed repositories promises, the one in PostgreSQL and the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select, text

from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.follows import PostgresFollows
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.ledger_follows import put_follow
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.postgres.tables import environments
from controlplane.domain.errors import Conflict, Fenced, Stale
from controlplane.domain.follow import Follow, Followed, StartMode
from controlplane.domain.sightings import FollowLook, Record
from controlplane.ports.follows import Follows
from tests.fakes.follows import FakeFollows
from tests.fakes.world import World
from tests.follows import a_look, a_rule, a_tag, digest, published
from tests.ledgers import ENVIRONMENT, a_draft
from tests.waiting import eventually

NEW = Record(
    Followed(looked_at=1.5, tags=(a_tag("1.1.0", "a"),)),
    (published("1.1.0", "a"),),
    (("release", "1.1.0 is known"),),
)


@dataclass
class Ground:
    """An environment of epoch 1 that follows a repository and has never looked."""

    follows: Follows
    fake: FakeFollows | None = None
    ledger: PostgresLedger | None = None

    async def apply(self, rule: Follow) -> None:
        if self.fake is not None:
            self.fake.follow(rule)
        if self.ledger is not None:
            await self.ledger.apply(a_draft(follow=rule), "alice")

    async def look(self) -> FollowLook:
        seen = await self.follows.look()
        assert seen is not None
        return seen


@pytest.fixture
async def postgres_ground(migrated_database_url: str) -> AsyncIterator[Ground]:
    engine = open_engine(migrated_database_url)
    ledger = PostgresLedger(engine)
    await ledger.apply(a_draft(follow=a_rule()), "alice")
    assert await PostgresStore(engine, ENVIRONMENT).claim_epoch("test", 0)
    yield Ground(PostgresFollows(engine, ENVIRONMENT), ledger=ledger)
    await engine.dispose()


@pytest.fixture(params=["fake", "postgres"])
def ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "fake":
        fake = FakeFollows(World(now=100.0), a_look(current=None, tried=frozenset()))
        return Ground(fake, fake=fake)
    found: Ground = request.getfixturevalue("postgres_ground")
    return found


async def test_fresh_rule_is_due_and_has_seen_nothing(ground: Ground) -> None:
    seen = await ground.look()
    assert (seen.environment, seen.rule, seen.followed) == (ENVIRONMENT, a_rule(), Followed())
    assert (seen.current, seen.tried, seen.active, seen.due_in_s) == (None, frozenset(), None, 0.0)


async def test_record_is_seen_by_the_next_look(ground: Ground) -> None:
    await ground.follows.record(1, "test", await ground.look(), NEW)
    seen = await ground.look()
    assert seen.followed == NEW.followed
    assert seen.known == {"1.1.0": digest("a")}


async def test_outdated_epoch_records_and_starts_nothing(ground: Ground) -> None:
    seen = await ground.look()
    with pytest.raises(Fenced):
        await ground.follows.record(2, "test", seen, NEW)
    with pytest.raises(Fenced):
        await ground.follows.start(0, "test", seen, "1.1.0", digest("a"), reason="")
    assert (await ground.look()).version == seen.version


async def test_record_of_an_older_look_is_stale(ground: Ground) -> None:
    seen = await ground.look()
    await ground.follows.record(1, "test", seen, NEW)
    with pytest.raises(Stale):
        await ground.follows.record(1, "test", seen, NEW)


async def test_rule_that_changed_meanwhile_makes_a_start_stale(ground: Ground) -> None:
    await ground.follows.record(1, "test", await ground.look(), NEW)
    seen = await ground.look()
    await ground.apply(a_rule(start=StartMode.NEVER))
    with pytest.raises(Stale):
        await ground.follows.start(1, "test", seen, "1.1.0", digest("a"), reason="")


@pytest.mark.parametrize("mode", [StartMode.APPROVAL, StartMode.NOW])
async def test_start_waits_for_approval_when_the_rule_says_so(
    ground: Ground, mode: StartMode
) -> None:
    await ground.apply(a_rule(start=mode))
    await ground.follows.record(1, "test", await ground.look(), NEW)
    rollout = await ground.follows.start(
        1, "test", await ground.look(), "1.1.0", digest("a"), reason="new"
    )
    assert rollout.policy.approval is (mode is StartMode.APPROVAL)
    assert (rollout.created_by, rollout.reason) == ("watcher", "new")
    seen = await ground.look()
    assert (seen.active, seen.tried) == (rollout.id, frozenset({"1.1.0"}))


async def test_same_digest_starts_once(ground: Ground) -> None:
    await ground.follows.record(1, "test", await ground.look(), NEW)
    seen = await ground.look()
    first = await ground.follows.start(1, "test", seen, "1.1.0", digest("a"), reason="")
    assert await ground.follows.start(1, "test", seen, "1.1.0", digest("a"), reason="") == first


async def test_nothing_starts_beside_an_active_rollout(ground: Ground) -> None:
    both = replace(NEW, releases=(*NEW.releases, published("1.2.0", "b")))
    await ground.follows.record(1, "test", await ground.look(), both)
    seen = await ground.look()
    first = await ground.follows.start(1, "test", seen, "1.1.0", digest("a"), reason="")
    with pytest.raises(Conflict, match=first.id):
        await ground.follows.start(1, "test", seen, "1.2.0", digest("b"), reason="")


async def test_version_that_became_known_with_other_bytes_is_a_conflict(ground: Ground) -> None:
    await ground.follows.record(1, "test", await ground.look(), NEW)
    seen = await ground.look()
    with pytest.raises(Conflict):
        await ground.follows.record(
            1, "test", seen, replace(NEW, releases=(published("1.1.0", "b"),))
        )
    assert (await ground.look()).version == seen.version


async def test_another_holder_of_the_same_epoch_is_fenced(ground: Ground) -> None:
    seen = await ground.look()
    with pytest.raises(Fenced):
        await ground.follows.record(1, "another", seen, NEW)
    with pytest.raises(Fenced):
        await ground.follows.start(1, "another", seen, "1.1.0", digest("a"), reason="")
    assert (await ground.look()).version == seen.version


async def test_start_and_a_change_of_the_environment_do_not_deadlock(
    postgres_ground: Ground, migrated_database_url: str
) -> None:
    """`camp env apply` holds the environment and wants the rule; the watcher begins meanwhile."""
    follows = postgres_ground.follows
    await follows.record(1, "test", await postgres_ground.look(), NEW)
    seen = await postgres_ground.look()
    engine = open_engine(migrated_database_url)
    environment = select(environments.c.name).with_for_update(key_share=True)
    async with engine.begin() as applying, engine.connect() as watching:
        await applying.execute(environment)
        start = asyncio.create_task(follows.start(1, "test", seen, "1.1.0", digest("a"), reason=""))

        async def waits() -> bool:
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            return bool(await watching.scalar(text(blocked)))

        await eventually(waits)
        await put_follow(applying, a_draft(follow=a_rule(start=StartMode.NEVER)))
    with pytest.raises(Stale):
        await start
    await engine.dispose()
