"""Answers kept in Redis for a while, shared by all instances, and gone once they are wrong."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger("camp.cache")

# After a failure Redis is left alone for so long: a dead one costs one request a pause its
# timeout, and not each of them.
PAUSE_S = 2.0
# Longer than any transaction may take (30 s a statement): a change whose instance died in the
# middle stops being waited for.
CHANGING_S = 120.0
CHANGING = b"!"
GENERATION = "#"

# The reader that asked the database before a change must not write what it saw after it: it
# fills only the generation it saw before it asked.
FILL = """
if (redis.call('HGET', KEYS[1], '#') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
"""
RENEW = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '#', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

Load = Callable[[], Awaitable[str]]
Tally = Callable[[str, str], None]
"""Counts what became of a look-up: the cache's name, and hit, miss or unavailable."""


class Cache:
    """Groups of short texts by field; a change empties its group on every instance.

    Without Redis, or while it does not answer, each look-up is loaded. A value lives `ttl_s` at
    the most, whatever went wrong.
    """

    def __init__(
        self, redis: Any, name: str, *, ttl_s: float, timeout_s: float, tally: Tally
    ) -> None:
        self._redis = redis
        self._name = name
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._tally = tally
        self._retry_at = 0.0
        self._owed: dict[str, float] = {}
        self._paying: asyncio.Task[None] | None = None

    async def get(self, group: str, field: str, load: Load) -> str:
        """The kept value, or what `load` says now, which is then kept."""
        asked_at = time.monotonic()
        found = await self._look(group, field)
        if found is None:
            self._count("unavailable")
            return await load()
        generation, value = found
        if value is not None:
            self._count("hit")
            return str(value.decode())
        self._count("miss")
        loaded = await load()
        # A generation is kept for `ttl_s`: whoever took longer cannot tell that it is the same.
        timely = time.monotonic() - asked_at < self._ttl_s / 2
        if timely and not generation.startswith(CHANGING):
            await self._fill(group, generation, field, loaded)
        return loaded

    @asynccontextmanager
    async def changing(self, group: str) -> AsyncIterator[None]:
        """Around the transaction that changes what the group is made from.

        Nothing is kept while it runs, so that even an instance that dies after its commit
        leaves nothing wrong behind; afterwards the group is empty for all instances.
        """
        await self._renew(group, CHANGING.decode(), CHANGING_S)
        try:
            yield
        finally:
            if not await self._renew(group, "", self._ttl_s):
                self._owe(group)

    async def close(self) -> None:
        """Give up what could not be told Redis."""
        if self._paying is not None:
            self._paying.cancel()
            await asyncio.gather(self._paying, return_exceptions=True)

    async def _look(self, group: str, field: str) -> tuple[bytes, bytes | None] | None:
        if group in self._owed:
            return None
        found = await self._ask(lambda r: r.hmget(self._key(group), GENERATION, field))
        return None if found is None else (found[0] or b"", found[1])

    async def _fill(self, group: str, generation: bytes, field: str, value: str) -> None:
        ttl_ms = int(self._ttl_s * 1000)
        arguments = (self._key(group), generation, field, value, ttl_ms)
        await self._ask(lambda r: r.eval(FILL, 1, *arguments))

    async def _renew(self, group: str, prefix: str, ttl_s: float) -> bool:
        generation = prefix + secrets.token_hex(8)
        arguments = (self._key(group), generation, int(ttl_s * 1000))
        if self._redis is None:
            return True
        # Not put off by a pause: until it is told, the other instances serve what was.
        done = await self._ask(lambda r: r.eval(RENEW, 1, *arguments), urgent=True)
        return done is not None

    async def _ask(self, command: Callable[[Any], Awaitable[Any]], *, urgent: bool = False) -> Any:
        """What Redis answers, or None when it is off or does not answer."""
        if self._redis is None or (time.monotonic() < self._retry_at and not urgent):
            return None
        from redis.exceptions import RedisError

        probing = self._retry_at > 0
        if probing:  # meanwhile the others go on without
            self._retry_at = time.monotonic() + self._timeout_s + PAUSE_S
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await command(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._retry_at = time.monotonic() + PAUSE_S
            if not probing:
                log.warning("cache off", cache=self._name, cause=repr(error))
            return None
        self._retry_at = 0.0
        return answer

    def _owe(self, group: str) -> None:
        """Empty the group as soon as Redis answers; until then this instance does not ask it."""
        self._owed[group] = time.monotonic() + 2 * self._ttl_s
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay())

    async def _pay(self) -> None:
        """Ends when nothing is owed, or has expired in Redis by itself."""
        while self._owed:
            await asyncio.sleep(PAUSE_S)
            for group, until in list(self._owed.items()):
                if time.monotonic() >= until or await self._renew(group, "", self._ttl_s):
                    del self._owed[group]

    def _key(self, group: str) -> str:
        return f"camp:cache:{self._name}:{group}"

    def _count(self, result: str) -> None:
        if self._redis is not None:
            self._tally(self._name, result)
