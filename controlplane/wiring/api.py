"""The control API over the real PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from litestar import Router
from litestar.types import Scope
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.lease import RedisLease
from controlplane.adapters.redis.logs import RedisLogs
from controlplane.adapters.traefik.routing import TraefikRouting
from controlplane.domain.errors import BusUnavailable
from controlplane.ports.bus import Bus
from controlplane.ports.lease import Lease
from controlplane.router import Control, control_router
from controlplane.router.control import EventStreams
from controlplane.router.figures import Figure, figures


class ControlApi(NamedTuple):
    """The router, what monitoring is told, and what closes its Redis client."""

    router: Router
    figures: Callable[[], Awaitable[tuple[Figure, ...]]]
    close: Callable[[], Awaitable[None]]


def control_api(
    engine: AsyncEngine,
    redis_url: str | None,
    streams: EventStreams,
    caller: Callable[[Scope], str],
) -> ControlApi:
    """The control API of one instance; opens nothing before the first request."""
    redis = open_redis(redis_url) if redis_url else None
    control = Control(
        ledger=PostgresLedger(engine),
        streams=streams,
        store=lambda environment: PostgresStore(engine, environment),
        lease=lambda environment: _lease(redis, environment),
        bus=lambda environment: RedisBus(redis, environment) if redis else NoBus(),
        listener=lambda environment: _listener(redis, environment),
        logs=lambda environment: RedisLogs(_connected(redis), environment),
        caller=caller,
        routing=lambda environment: TraefikRouting(_connected(redis), environment),
    )

    async def close() -> None:
        if redis is not None:
            await redis.aclose()

    return ControlApi(control_router(control), lambda: figures(control), close)


class NoBus:
    """Where REDIS_URL is not set: nudges go nowhere, waits last their time."""

    async def nudge(self, *topics: str) -> None:
        """Nobody listens."""

    async def wait(self, timeout_s: float) -> bool:
        """Only time passes."""
        await asyncio.sleep(timeout_s)
        return False


def _lease(redis: Redis | None, environment: str) -> Lease:
    return RedisLease(_connected(redis), environment)


def _connected(redis: Redis | None) -> Redis:
    if redis is None:
        raise BusUnavailable(
            "REDIS_URL is not set for this instance; set it, or ask another instance."
        )
    return redis


def _listener(redis: Redis | None, environment: str) -> AbstractAsyncContextManager[Bus]:
    if redis is None:
        return nullcontext(NoBus())
    return RedisBus(redis, environment, ("events",))
