"""The leader's key on a fake Redis."""

from __future__ import annotations

from tests.fakes.redis import FakeRedis


class FakeLease:
    """Compare-and-set on one key, atomic between two points."""

    def __init__(self, redis: FakeRedis, environment: str) -> None:
        self._redis = redis
        self._point = redis.world.point
        self._key = f"camp:{environment}:leader"

    async def acquire(self, holder: str, epoch: int, ttl_s: float) -> bool:
        await self._point("lease.acquire")
        self._redis.check()
        ours = bool(self._redis.get(self._key) in (None, (holder, epoch)))
        if ours:
            self._redis.put(self._key, (holder, epoch), ttl_s)
        await self._point("lease.acquire.done")
        return ours

    async def renew(self, holder: str, epoch: int, ttl_s: float) -> bool:
        await self._point("lease.renew")
        self._redis.check()
        ours = bool(self._redis.get(self._key) == (holder, epoch))
        if ours:
            self._redis.put(self._key, (holder, epoch), ttl_s)
        await self._point("lease.renew.done")
        return ours

    async def release(self, holder: str, epoch: int) -> None:
        await self._point("lease.release")
        self._redis.check()
        if self._redis.get(self._key) == (holder, epoch):
            self._redis.delete(self._key)
        await self._point("lease.release.done")

    async def holder(self) -> tuple[str, int] | None:
        await self._point("lease.holder")
        self._redis.check()
        found: tuple[str, int] | None = self._redis.get(self._key)
        await self._point("lease.holder.done")
        return found
