"""The ground on which stores are tested; other suites bring their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.embedded.servers import PostgresServer
from tests.proxy import Proxy
from tests.stores import (
    ENVIRONMENT,
    OTHER,
    FakeGround,
    Ground,
    PostgresGround,
)


@pytest.fixture(scope="module")
def store_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """One database for all these tests, emptied before each: a new one costs more than a test."""
    yield postgres.create_database("store_contract", migrated_template)
    postgres.drop_database("store_contract")


@pytest.fixture
async def postgres_ground(store_url: str) -> AsyncIterator[PostgresGround]:
    url = make_url(store_url)
    assert url.port is not None
    proxy = Proxy(url.port)
    await proxy.open()
    indirect = url.set(port=proxy.port).render_as_string(hide_password=False)
    engine, through = open_engine(store_url), open_engine(indirect)
    ground = PostgresGround(engine, through, proxy)
    await ground.empty()
    await ground.add(ENVIRONMENT)
    await ground.add(OTHER)
    yield ground
    await through.dispose()
    await engine.dispose()
    await proxy.cut()


@pytest.fixture(params=["fake", "postgres"])
def ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "fake":
        return FakeGround()
    found: PostgresGround = request.getfixturevalue("postgres_ground")
    return found


@pytest.fixture
def ledger(engine: AsyncEngine) -> PostgresLedger:
    return PostgresLedger(engine)
