"""The leader's key on a fake Redis."""

from __future__ import annotations

from controlplane.ports.lease import Reason
from tests.fakes.redis import FakeRedis


class FakeLease:
    """Compare-and-set on one key, atomic between two points."""

    def __init__(self, redis: FakeRedis, environment: str) -> None:
        self._redis = redis
        self._point = redis.world.point
        self._key = f"camp:{environment}:leader"
        self._reason_key = f"{self._key}:reason"

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

    async def give_reason(self, reason: Reason, ttl_s: float) -> None:
        await self._point("lease.give_reason")
        self._redis.check()
        self._redis.put(self._reason_key, reason, ttl_s)
        await self._point("lease.give_reason.done")

    async def reason(self) -> Reason | None:
        await self._point("lease.reason")
        self._redis.check()
        found: Reason | None = self._redis.get(self._reason_key)
        await self._point("lease.reason.done")
        return found
