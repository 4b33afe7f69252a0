"""Real servers for the tests, one set a worker, started when the first test asks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.process.runtime import LEFT_RUNNING
from controlplane.embedded.servers import (
    PostgresServer,
    RedisServer,
    TraefikServer,
    start_postgres,
    start_redis,
    start_traefik,
)
from controlplane.schema.runner import upgrade
from tests.issuers import Issuer, issuing

# The first text that Hypothesis makes in a fresh clone builds its table of characters, which takes
# seconds under coverage. Speed is measured in benchmarks, not here.
settings.register_profile("camp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if settings.get_current_profile_name() != "ci":  # Hypothesis has a profile of its own there
    settings.load_profile("camp")


@pytest.fixture(scope="session", autouse=True)
def ended_instances_are_known() -> Iterator[None]:
    """Instances outlive their runtime; those the tests ended are asked for their end at last."""
    yield
    for handle in LEFT_RUNNING:
        handle.alive()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every `async def test_…` on asyncio, as the program does."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = start_postgres(tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database of the test's own, as `postgresql+asyncpg://…`."""
    yield from _database(postgres, template="template0")


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """The name of a database with every migration applied; to copy, not to connect to."""
    name = "migrated_template"
    asyncio.run(upgrade(postgres.create_database(name), say=lambda _: None))
    return name


@pytest.fixture
def migrated_database_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of the test's own with every migration applied."""
    yield from _database(postgres, template=migrated_template)


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections to that database, closed however the test ends."""
    engine = open_engine(migrated_database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """Signs in whomever a test needs; to use, not to break."""
    with issuing() as made:
        yield made


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The worker's Redis, emptied. Database 0 is the one that `traefik` follows."""
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    return redis_server.url()


@pytest.fixture(scope="session")
def traefik(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[TraefikServer]:
    """A Traefik on the worker's Redis, root key `traefik`."""
    server = start_traefik(tmp_path_factory.mktemp("traefik"), redis_server)
    yield server
    server.stop()


def _database(postgres: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield postgres.create_database(name, template)
    postgres.drop_database(name)
