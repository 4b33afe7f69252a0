"""What several suites of this folder stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.embedded.servers import TraefikServer
from tests import shells
from tests.agents import Site, site
from tests.shells import Shell


@pytest.fixture
async def shell(migrated_database_url: str, redis_url: str) -> AsyncIterator[Shell]:
    async with shells.opened(migrated_database_url, redis_url) as opened:
        yield opened


@pytest.fixture
async def place(
    tmp_path: Path,
    engine: AsyncEngine,
    migrated_database_url: str,
    redis_url: str,
    traefik: TraefikServer,
) -> AsyncIterator[Site]:
    """An environment of two hosts behind one edge, applied; no agent runs yet."""
    with site(tmp_path, engine, migrated_database_url, redis_url, traefik.api_url) as made:
        await made.apply()
        yield made
