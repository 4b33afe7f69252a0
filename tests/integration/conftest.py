"""What several suites of this folder stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import shells
from tests.shells import Shell


@pytest.fixture
async def shell(migrated_database_url: str, redis_url: str) -> AsyncIterator[Shell]:
    async with shells.opened(migrated_database_url, redis_url) as opened:
        yield opened
