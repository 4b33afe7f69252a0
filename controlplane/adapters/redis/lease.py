"""The leader's key in Redis: `camp:{environment}:leader` says `holder:epoch` until it expires."""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from controlplane.adapters.redis.client import translated
from controlplane.ports.lease import Reason

# Comparing and writing in one script: between a GET and a PEXPIRE the key may expire and be
# taken by somebody else, whose lease we would then extend or delete.
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisLease:
    """One environment's lease."""

    def __init__(self, client: Redis, environment: str) -> None:
        self._client = client
        self._key = f"camp:{environment}:leader"
        self._reason_key = f"{self._key}:reason"
        self._renew = client.register_script(RENEW)
        self._release = client.register_script(RELEASE)

    async def acquire(self, holder: str, epoch: int, ttl_s: float) -> bool:
        """Take the key if nobody has it; also true when it already says holder:epoch.

        That happens when Redis carried out an earlier call whose answer was lost.
        """
        with translated("take the lease"):
            value = _value(holder, epoch)
            if await self._client.set(self._key, value, nx=True, px=_milliseconds(ttl_s)):
                return True
        return await self.renew(holder, epoch, ttl_s)

    async def renew(self, holder: str, epoch: int, ttl_s: float) -> bool:
        """Extend the key if it still says holder:epoch; false: it is lost."""
        with translated("renew the lease"):
            value = _value(holder, epoch)
            return bool(await self._renew(keys=[self._key], args=[value, _milliseconds(ttl_s)]))

    async def release(self, holder: str, epoch: int) -> None:
        """Give the key up if it still says holder:epoch."""
        with translated("release the lease"):
            await self._release(keys=[self._key], args=[_value(holder, epoch)])

    async def holder(self) -> tuple[str, int] | None:
        """Who holds the key now, and its epoch."""
        with translated("read the lease"):
            value = await self._client.get(self._key)
        if not value:
            return None
        holder, _, epoch = str(value).rpartition(":")
        return holder, int(epoch)

    async def give_reason(self, reason: Reason, ttl_s: float) -> None:
        """Say for a while why a candidate does not lead; the last one to say so is heard."""
        with translated("say why nobody leads"):
            said = msgspec.json.encode(reason)
            await self._client.set(self._reason_key, said, px=_milliseconds(ttl_s))

    async def reason(self) -> Reason | None:
        """Why a candidate does not lead, if one said so lately."""
        with translated("read why nobody leads"):
            said = await self._client.get(self._reason_key)
        return msgspec.json.decode(said, type=Reason) if said else None


def _value(holder: str, epoch: int) -> str:
    return f"{holder}:{epoch}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
