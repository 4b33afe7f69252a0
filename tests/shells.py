"""The command line against a running instance, as an operator uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from click.testing import CliRunner, Result
from sqlalchemy.ext.asyncio import AsyncEngine

from camp.__main__ import main
from controlplane.adapters.postgres.engine import open_engine
from controlplane.adapters.postgres.ledger import PostgresLedger
from tests.ledgers import ENVIRONMENT
from tests.served import serving
from tests.waiting import eventually


@dataclass(frozen=True)
class Shell:
    """Runs commands as an operator would, each with its own event loop."""

    environ: dict[str, str]
    engine: AsyncEngine
    ledger: PostgresLedger

    async def camp(self, *args: str, **environ: str) -> Result:
        env = self.environ | environ
        return await asyncio.to_thread(CliRunner().invoke, main, args, env=env)

    async def told(self, *args: str) -> str:
        result = await self.camp(*args)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def rollout(self) -> str:
        """The active rollout, once there is one."""

        async def active() -> str | None:
            return (await self.ledger.environment(ENVIRONMENT)).active

        assert await eventually(active)
        return await active() or ""


@asynccontextmanager
async def opened(database_url: str, redis_url: str) -> AsyncIterator[Shell]:
    """An instance, and a shell of the operator alice."""
    engine = open_engine(database_url)
    async with serving(database_url, redis_url) as served:
        environ = {"CAMP_URL": served.url, "DATABASE_URL": database_url, "CAMP_TOKEN": ""}
        environ |= {"ENVIRONMENT": "local"}
        bare = Shell(environ, engine, PostgresLedger(engine))
        token = (await bare.told("operator", "create", "alice", "--json")).strip()
        environ["CAMP_TOKEN"] = json.loads(token)["token"]
        yield bare
    await engine.dispose()
