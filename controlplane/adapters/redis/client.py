"""A Redis connection whose failures are quick and have one name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from controlplane.domain.errors import BusUnavailable

# A leader stops itself 3 s after its last renewal, so a hung Redis must show well before that.
SOCKET_TIMEOUT_S = 1.0


def open_redis(url: str) -> Redis:
    """A client for `redis://` URLs that connects at the first command.

    A broken connection is replaced once, because all pooled ones are broken after a restart and
    all our commands may be repeated. A timeout is not retried: every loop above is
    level-triggered, and its next look is the retry.
    """
    return Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
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
