"""An environment follows a repository: real PostgreSQL and Redis, a registry over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncEngine

from camp.__main__ import main
from controlplane.adapters.host.clock import SystemClock
from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.follows import PostgresFollows
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.adapters.registry.oci import registry_of
from controlplane.domain.follow import Follow, StartMode
from controlplane.domain.model import Kind, State
from controlplane.domain.tokens import token_hash, token_of
from controlplane.leader.tenure import Tenure
from controlplane.leader.watcher import Watcher
from tests.fakes.registry import LABELS, FakeRegistry, fake_registry
from tests.ledgers import ENVIRONMENT, a_draft, lead
from tests.served import serving

TOKEN = token_of(bytes(32))


@dataclass
class Ground:
    """A leading watcher of an environment that follows `team/camp`, versions below 2."""

    registry: FakeRegistry
    ledger: PostgresLedger
    engine: AsyncEngine
    watcher: Watcher
    rule: Follow

    def publish(self, tag: str, **labels: str) -> str:
        said = LABELS | {"org.opencontainers.image.version": tag} | labels
        digest = str(self.registry.image(said)["digest"])
        self.registry.tag("team/camp", tag, digest)
        return digest

    async def look(self, **changes: Any) -> None:
        """One look: it is due at once when the rule changes."""
        self.rule = replace(self.rule, interval_s=self.rule.interval_s + 1, **changes)
        await self.ledger.apply(a_draft(follow=self.rule), "alice")
        await self.watcher.tenure.renew()
        await self.watcher.tick()

    async def told(self, kind: str) -> list[str]:
        found = await self.ledger.recent_events(ENVIRONMENT, None, 100)
        return [event.message for event in found if event.kind == kind]

    async def rollouts(self) -> list[tuple[str, State, bool]]:
        found = await self.ledger.rollouts(ENVIRONMENT, 10)
        return [(r.target.version, r.state, r.policy.approval) for r in found]


@pytest.fixture
async def ground(migrated_database_url: str, redis_url: str) -> AsyncIterator[Ground]:
    engine = open_engine(migrated_database_url)
    ledger, store = PostgresLedger(engine), PostgresStore(engine, ENVIRONMENT)
    with fake_registry() as registry:
        rule = Follow(image=f"{registry.address}/team/camp", versions="<2")
        await ledger.apply(a_draft(follow=rule), "alice")
        async with open_redis(redis_url) as client:
            tenure = Tenure("test", RedisLease(client, ENVIRONMENT), store, SystemClock())
            assert await tenure.campaign()
            follows, bus = PostgresFollows(engine, ENVIRONMENT), RedisBus(client, ENVIRONMENT)
            watcher = Watcher(tenure, follows, registry_of, bus, asyncio.Event())
            yield Ground(registry, ledger, engine, watcher, rule)
    await engine.dispose()


async def test_tag_becomes_a_release_and_a_rollout_that_waits_for_approval(ground: Ground) -> None:
    digest = ground.publish("1.1.0")
    ground.publish("2.0.0")
    await ground.look()
    known = (await ground.ledger.release("1.1.0")).release
    assert known.image == f"{ground.rule.image}@{digest}"
    assert await ground.rollouts() == [("1.1.0", State.PENDING, True)]
    (started,) = await ground.ledger.rollouts(ENVIRONMENT, 10)
    assert (started.kind, started.created_by) == (Kind.DEPLOY, "watcher")
    assert [r.release.version for r in await ground.ledger.releases()] == ["1.1.0"]


async def test_moved_tag_is_reported_once_and_never_deployed(ground: Ground) -> None:
    first = ground.publish("1.1.0")
    await ground.look()
    await lead(ground.engine, State.SUCCEEDED)
    second = ground.publish("1.1.0", other="label")
    await ground.look()
    await ground.look()
    (told,) = await ground.told("tag_moved")
    assert first in told
    assert second in told
    assert await ground.rollouts() == [("1.1.0", State.SUCCEEDED, True)]


async def test_version_that_failed_is_not_started_again_and_the_next_one_is(
    ground: Ground,
) -> None:
    ground.publish("1.1.0")
    await ground.look(start=StartMode.NOW)
    await lead(ground.engine, State.FAILED, "it does not start")
    await ground.look()
    assert len(await ground.rollouts()) == 1
    ground.publish("1.2.0")
    await ground.look()
    assert (await ground.rollouts())[0] == ("1.2.0", State.PENDING, False)


async def test_followed_repository_is_shown_with_its_tags_and_its_error(
    ground: Ground, migrated_database_url: str, redis_url: str
) -> None:
    ground.publish("1.1.0")
    ground.publish("1.0.0", **{"org.opencontainers.image.version": "0.9.9"})
    await ground.look()
    ground.registry.status = HTTPStatus.SERVICE_UNAVAILABLE
    await ground.look()
    async with serving(migrated_database_url, redis_url) as served:
        await ground.ledger.add_operator("ann", token_hash(TOKEN))
        environ = {"CAMP_URL": served.url, "CAMP_TOKEN": TOKEN}

        async def camp(*args: str) -> str:
            result = await asyncio.to_thread(CliRunner().invoke, main, args, env=environ)
            assert result.exit_code == 0, result.output
            return result.stdout

        shown = await camp("env", "show", ENVIRONMENT)
        (listed,) = json.loads(await camp("env", "list", "--json"))
    assert "follow.versions              <2" in shown
    assert "answers 503" in shown
    assert "label says version 0.9.9" in shown
    assert listed["follow"]["last_look"] > 0
    assert [tag["tag"] for tag in listed["follow"]["tags"]] == ["1.0.0", "1.1.0"]


async def test_rule_is_applied_from_a_file_and_taken_back_with_it(
    ground: Ground, migrated_database_url: str, tmp_path: Path
) -> None:
    place = (
        '[environments.local]\nhosts = ["host-a", "host-b"]\nedges = ["http://127.0.0.1:8080"]\n'
    )
    rule = '[environments.local.follow]\nimage = "registry.example/camp"\ntags = "main-.*"\n'
    file = tmp_path / "environments.toml"
    async with serving(migrated_database_url) as served:
        await ground.ledger.add_operator("ann", token_hash(TOKEN))
        environ = {"CAMP_URL": served.url, "CAMP_TOKEN": TOKEN}
        for text, wanted in ((place + rule, "main-.*"), (place, None)):
            file.write_text(text, encoding="utf-8")
            args = ("env", "apply", str(file))
            result = await asyncio.to_thread(CliRunner().invoke, main, args, env=environ)
            assert "is now at version" in result.output
            stored = (await ground.ledger.environment(ENVIRONMENT)).follow
            assert (stored and stored.tags) == wanted
