"""Routes for those who run the service: index, health, metrics, drain."""

import asyncio
from typing import Any

from litestar import MediaType, Response, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

import camp
from camp.config.settings import Settings
from camp.config.storage_url import folder_of
from camp.errors import Forbidden, Unauthorized
from camp.lifecycle import Lifecycle
from camp.ops.access import require_agent, require_direct
from camp.ops.readiness import Readiness, Verdict
from camp.ops.schemas import Draining, DrainRequest, Health, Index, Live, Ready

# /health is asked several times a second while an instance drains; the counts in it are exact,
# only the words about database and Redis may be this old.
HEALTH_MAX_AGE_S = 1.0


@get("/", tags=["ops"])
async def index() -> Index:
    """Name, version and where to look next."""
    links = {"docs": "/docs", "health": "/health", "metrics": "/metrics", "api": "/api/v1"}
    return Index(name="camp", version=camp.__version__, links=links)


@get("/health/live", tags=["ops"])
async def live() -> Live:
    """200 as long as the process answers."""
    return Live()


@get(
    "/health/ready",
    tags=["ops"],
    responses={503: ResponseSpec(Ready, generate_examples=False, description="Why it cannot.")},
)
async def ready(state: State) -> Response[Ready]:
    """200 when this instance can take traffic, else 503 with the reason."""
    lifecycle: Lifecycle = state.lifecycle
    readiness: Readiness = state.readiness
    # A draining instance is out of service whatever the database says: do not ask it.
    verdict = None if lifecycle.draining.is_set() else await readiness.check()
    # The drain may have started while the database was asked.
    if verdict is None or lifecycle.draining.is_set():
        body = _ready(state, "draining", "this instance drains")
    elif verdict.reason is not None:
        body = _ready(state, "unready", verdict.reason)
    else:
        body = _ready(state, "ready", None)
    return Response(body, status_code=200 if body.status == "ready" else 503)


@get("/health", tags=["ops"])
async def health(state: State) -> Health:
    """How this instance is, and what it still has in flight; always 200."""
    settings: Settings = state.settings
    lifecycle: Lifecycle = state.lifecycle
    readiness: Readiness = state.readiness
    verdict, redis = await asyncio.gather(readiness.check(HEALTH_MAX_AGE_S), _redis(state))
    return Health(
        status=_status(lifecycle, verdict),
        version=camp.__version__,
        digest=settings.camp_digest,
        config_hash=settings.camp_config_hash,
        instance=settings.camp_instance,
        uptime_s=round(lifecycle.uptime_s, 3),
        database="ok" if verdict.database_up else "down",
        redis=redis,
        storage="shared" if folder_of(settings.storage_url) is None else "local",
        schema=state.schema.head,
        streams=lifecycle.chat_streams,
        event_streams=lifecycle.event_streams,
        requests=lifecycle.requests,
        draining=lifecycle.draining.is_set(),
    )


@get(
    "/metrics",
    tags=["ops"],
    media_type=MediaType.TEXT,
    guards=[require_direct],
    refuses=(Forbidden,),
)
async def metrics(state: State) -> Response[bytes]:
    """Gauges and histograms in Prometheus' text format, of this instance; not through an edge."""
    await state.metrics.refresh()
    return Response(state.metrics.exposition(), media_type="text/plain; version=0.0.4")


@post(
    "/internal/drain",
    tags=["ops"],
    status_code=202,
    guards=[require_direct, require_agent],
    refuses=(Forbidden, Unauthorized),
)
async def drain(data: JSONBody[DrainRequest], state: State) -> Draining:
    """Leave service: unready at once, event streams end, chat streams end by the deadline.

    For the agent of this host; asking again changes nothing, or brings the deadline forward.
    The process goes on serving what still arrives, and exits on SIGTERM only.
    """
    lifecycle: Lifecycle = state.lifecycle
    lifecycle.drain(data.deadline_s)
    return Draining(draining=True, streams=lifecycle.chat_streams, requests=lifecycle.requests)


HANDLERS: list[HTTPRouteHandler] = [index, live, ready, health, metrics, drain]


def _ready(state: State, status: Any, reason: str | None) -> Ready:
    settings: Settings = state.settings
    return Ready(
        status=status,
        reason=reason,
        version=camp.__version__,
        digest=settings.camp_digest,
        config_hash=settings.camp_config_hash,
        instance=settings.camp_instance,
        streams=state.lifecycle.chat_streams,
        requests=state.lifecycle.requests,
    )


def _status(lifecycle: Lifecycle, verdict: Verdict) -> Any:
    if lifecycle.draining.is_set():
        return "draining"
    return "ok" if verdict.reason is None else "degraded"


async def _redis(state: State) -> Any:
    """Redis is no reason to be unready: the service works without it."""
    if state.redis is None:
        return "off"
    from redis.exceptions import RedisError

    try:
        async with asyncio.timeout(state.settings.redis_timeout_s):
            await state.redis.ping()
    except (RedisError, OSError, TimeoutError):
        return "down"
    return "ok"
