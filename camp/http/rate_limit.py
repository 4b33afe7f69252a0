"""How many requests a user may make, counted in Redis for all instances together.

Windows are aligned to the clock, so that one round trip, the count, says everything: what is left,
and when the next window begins. The price is known: around that moment a user can spend two
budgets.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from camp.auth.authenticator import require_user
from camp.config.settings import Settings
from camp.errors import RateLimitUnavailable, TooManyRequests, Unauthorized
from camp.http.client_address import Peers, who_pays
from camp.http.local_counts import LocalCounts

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger("camp.http.rate_limit")

# A dead Redis is asked again by one request this often; the others do not wait for it.
RETRY_S = 2.0
# A count outlives its window by what two clocks may differ: it is named by the window it is of.
_ADD = """
local totals = {}
for i, key in ipairs(KEYS) do
  totals[i] = redis.call('INCRBY', key, ARGV[i + 1])
  redis.call('EXPIRE', key, ARGV[1])
end
return totals
"""
WINDOWS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class Spent(msgspec.Struct, frozen=True):
    """A budget after one more request."""

    limit: int
    window_s: int
    count: int
    reset_s: int

    @property
    def over(self) -> bool:
        return self.count > self.limit

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of the IETF's RateLimit draft."""
        left = max(0, self.limit - self.count)
        return [
            (b"ratelimit-policy", b'"default";q=%d;w=%d' % (self.limit, self.window_s)),
            (b"ratelimit", b'"default";r=%d;t=%d' % (left, self.reset_s)),
        ]


class RateLimiter:
    """Counts requests by key; what happens without Redis is `failure`: open, closed or local.

    Without a Redis at all every instance counts for itself.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        amount, _, unit = settings.rate_limit.partition("/")
        self._limit = int(amount)
        self._window_s = WINDOWS_S[unit]
        self._failure = settings.rate_limit_failure
        self._clock = clock
        self._timeout_s = settings.redis_timeout_s
        self._shared = _shared_counts(settings, self._window_s)
        self._local = LocalCounts()
        self._retry_at = 0.0
        self.down = False
        self.refused = 0

    async def spend(self, key: str) -> Spent | None:
        """Count one request; None when it could not be counted and passes all the same.

        Raises RateLimitUnavailable when it could not be counted and may not pass.
        """
        now = self._clock()
        window, into_s = divmod(now, self._window_s)
        count = await self._count(key, int(window))
        if count is None:
            return None
        spent = Spent(self._limit, self._window_s, count, math.ceil(self._window_s - into_s))
        self.refused += spent.over
        return spent

    async def close(self) -> None:
        """Give the connections back."""
        if self._shared is not None:
            await self._shared.close()

    async def _count(self, key: str, window: int) -> int | None:
        if self._shared is None:
            return self._local.add(key, window)
        count = await self._shared_count(f"{key}:{window}")
        if count is not None or self._failure == "open":
            return count
        if self._failure == "closed":
            raise RateLimitUnavailable("Requests cannot be counted now. Try again in a moment.")
        return self._local.add(key, window)

    async def _shared_count(self, name: str) -> int | None:
        from redis.exceptions import RedisError

        assert self._shared is not None
        now = time.monotonic()
        if self.down and now < self._retry_at:
            return None
        # Set before asking: while this one asks, the others take Redis for dead.
        self._retry_at = now + self._timeout_s + RETRY_S
        try:
            async with asyncio.timeout(self._timeout_s):
                count = await self._shared.add(name)
        except (RedisError, OSError, TimeoutError) as error:
            self._retry_at = time.monotonic() + RETRY_S
            self._note(down=True, cause=repr(error))
            return None
        self._note(down=False)
        return count

    def _note(self, *, down: bool, cause: str | None = None) -> None:
        if down != self.down:
            self.down = down
            log.warning("rate limit", redis="down" if down else "up", cause=cause)


class SharedCounts:
    """Counts in Redis; requests that come while a round trip is under way share the next one."""

    def __init__(self, redis: "Redis", window_s: int) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._window_s = window_s
        self._waiting: dict[str, list[asyncio.Future[int]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def add(self, name: str) -> int:
        """Count one more; what it makes in all. Raises what the Redis client raises."""
        counted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(counted)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        count: int = await counted
        return count

    async def close(self) -> None:
        """Give the connections back."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._redis.aclose()

    async def _ask(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._ask_for(waiting)
        finally:
            self._asking = None

    async def _ask_for(self, waiting: dict[str, list[asyncio.Future[int]]]) -> None:
        amounts = [len(counted) for counted in waiting.values()]
        keys = [f"camp:rate:{name}" for name in waiting]
        try:
            totals = await self._add(keys=keys, args=[self._window_s, *amounts])
        except Exception as error:  # noqa: BLE001 - raised again by each who waits
            for one in itertools.chain.from_iterable(waiting.values()):
                if not one.done():
                    one.set_exception(error)
            return
        for counted, total in zip(waiting.values(), totals, strict=True):
            for behind, one in enumerate(reversed(counted)):
                if not one.done():
                    one.set_result(total - behind)


async def require_user_in_budget(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Guard: as `require_user`, and counts the request for the user, or else for the address.

    Raises TooManyRequests. An address only pays for requests that nobody is signed in for.
    """
    try:
        await require_user(connection, handler)
    except Unauthorized:
        peers: Peers = connection.app.state.peers
        await _spend(connection, f"address:{who_pays(peers.address(connection.scope))}")
        raise
    await _spend(connection, f"user:{connection.user.user_id}")


async def _spend(connection: ASGIConnection[Any, Any, Any, Any], key: str) -> None:
    limiter: RateLimiter = connection.app.state.limiter
    spent = await limiter.spend(key)
    if spent is None:
        return
    connection.scope["state"]["headers"] = spent.headers()
    if spent.over:
        raise TooManyRequests(
            f"{spent.limit} requests in {spent.window_s} s are allowed. "
            f"Try again in {spent.reset_s} s.",
            retry_after_s=spent.reset_s,
        )


def _shared_counts(settings: Settings, window_s: int) -> "SharedCounts | None":
    if settings.redis_url is None:
        return None
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    redis = Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return SharedCounts(redis, window_s)
