"""A Redis connection whose failures are quick and have one name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from controlplane.domain.errors import BusUnavailable

# A leader stops itself 3 s after its last renewal, so a hung Redis must show well before that.
SOCKET_TIMEOUT_S = 1.0


def open_redis(url: str) -> Redis:
    """A client for `redis://` URLs; it connects at the first command and never retries by itself.

    Every loop above it is level-triggered: the next look is the retry.
    """
    return Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn whatever the driver raises into BusUnavailable; `doing` completes "Redis failed to"."""
    try:
        yield
    except (RedisError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise BusUnavailable(
            f"Redis failed to {doing} ({reason}); check that it runs and REDIS_URL is right."
        ) from error
