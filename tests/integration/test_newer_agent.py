"""An agent of a later release beside an older leader and router, with real PostgreSQL and Redis."""

from __future__ import annotations

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.client import ControlClient
from controlplane.domain.changes import changes
from controlplane.domain.look import look
from controlplane.domain.model import State
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.reports import HostReport, Phase, SlotReport
from controlplane.domain.tokens import token_hash, token_of
from controlplane.leader.loop import decide
from tests.fakes.newer import newer
from tests.ledgers import ENVIRONMENT, a_release, a_start, furnish, lead
from tests.served import serving

TOKEN = token_of(bytes(32))


async def test_report_that_cannot_be_read_is_shown_everywhere_and_stops_nobody(
    engine: AsyncEngine, migrated_database_url: str, redis_url: str
) -> None:
    ledger, store = PostgresLedger(engine), PostgresStore(engine, ENVIRONMENT)
    await ledger.add_operator("alice", token_hash(TOKEN))
    await furnish(ledger, "1.0.0")
    slot = SlotReport(0, a_release("1.0.0").spec, Phase.HEALTHY, "127.0.0.1:9")
    await store.report(newer(HostReport("host-a", 0, 0, slots=(slot,))))
    await store.report(HostReport("host-b", 0, 0, agent_version="1"))
    rollout = await ledger.start(a_start())
    await lead(engine, State.PREFLIGHT)
    await _step(store)  # every host fetches
    await _step(store)  # and what is waited for
    await _hold_the_lease(redis_url)

    async with (
        serving(migrated_database_url, redis_url) as served,
        ControlClient(served.url, TOKEN) as client,
        httpx.AsyncClient() as plain,
    ):
        apart, well = await client.hosts(ENVIRONMENT)
        why = await client.why(rollout.id)
        metrics = (await plain.get(f"{served.url}/metrics")).text

    assert (apart.silent, apart.agent_version, apart.protocol) == (True, "9.0.0", PROTOCOL + 1)
    assert "warming" in apart.unread
    assert (well.silent, well.unread) == (False, "")
    assert why.blocker is not None
    assert why.blocker.code == "protocol_skew"
    assert "host-a" in why.sentence
    said = f'camp_agent_unread{{environment="{ENVIRONMENT}",host='
    assert f'{said}"host-a"}} 1.0' in metrics
    assert f'{said}"host-b"}} 0.0' in metrics


async def _step(store: PostgresStore) -> None:
    """One step of the leader."""
    seen = await store.observe()
    fleet = look(seen, ())
    step = changes(seen, fleet, decide(seen, fleet))
    assert step is not None
    await store.commit(1, "test", seen, step)


async def _hold_the_lease(redis_url: str) -> None:
    redis = open_redis(redis_url)
    await RedisLease(redis, ENVIRONMENT).acquire("host-b", 1, 30.0)
    await redis.aclose()
