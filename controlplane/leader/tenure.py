"""Being the leader: a lease in Redis for liveness, an epoch from PostgreSQL for safety."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from controlplane.domain.errors import Unavailable
from controlplane.ports.clock import Clock
from controlplane.ports.lease import Lease
from controlplane.ports.store import Store

TTL_S = 5.0
RENEW_S = 1.0
# Two seconds before the key can expire: a leader that could not renew has stopped itself by then.
STEP_DOWN_S = 3.0
# The lease is only lengthened on the strength of a look that was completed this lately: who
# reaches Redis but not PostgreSQL, or fails at every step, must not lead for ever.
PROOF_S = 3.0
# Who gave up leaves the lead to others for this long: twice the time that a new leader needs.
ABSTAIN_S = 10.0


@dataclass(slots=True)
class Tenure:
    """One holder's claim to lead an environment. `epoch` is None while someone else leads."""

    holder: str
    lease: Lease
    store: Store
    clock: Clock
    epoch: int | None = None
    renewed_at: float = 0.0
    completed_at: float = 0.0
    abstains_until: float = -math.inf

    @property
    def host(self) -> str:
        """The host of this holder, which is `host#pid`."""
        return self.holder.partition("#")[0]

    def safe_epoch(self) -> int | None:
        """The epoch to write with, or None once the last renewal is too long ago.

        Measured from before the renewing call, on the monotonic clock.
        """
        if self.epoch is None or self.clock.monotonic() - self.renewed_at > STEP_DOWN_S:
            return None
        return self.epoch

    async def campaign(self, vouch: Callable[[], Awaitable[int]] | None = None) -> bool:
        """Try to become leader: the key first, then the next epoch; true when both are ours.

        `vouch` returns the epoch issued last, or raises when it is not to be built on.
        """
        if self.clock.monotonic() < self.abstains_until:
            return False
        if await self.lease.holder() is not None:
            return False
        seen = await (vouch or self.store.epoch)()
        before = self.clock.monotonic()
        if not await self.lease.acquire(self.holder, seen + 1, TTL_S):
            return False
        try:
            claimed = await self.store.claim_epoch(self.holder, seen)
        except Unavailable:
            await self.resign(seen + 1)
            raise
        if not claimed:
            await self.resign(seen + 1)
            return False
        self.epoch, self.renewed_at = seen + 1, before
        self.completed_at = before
        return True

    def completed(self) -> None:
        """A step was completed just now, which is what entitles to more time."""
        self.completed_at = self.clock.monotonic()

    async def abstain(self) -> None:
        """Step down and leave the lead to somebody else for a while."""
        self.abstains_until = self.clock.monotonic() + ABSTAIN_S
        await self.step_down()

    async def renew(self) -> None:
        """Extend the lease; a lost one ends the tenure, an unreachable Redis only lets it age.

        Without a step completed lately it is left to age as well.
        """
        epoch, before = self.epoch, self.clock.monotonic()
        if epoch is None or before - self.completed_at > PROOF_S:
            return
        try:
            held = await self.lease.renew(self.holder, epoch, TTL_S)
        except Unavailable:
            return
        if self.epoch != epoch:
            return
        if held:
            self.renewed_at = before
        else:
            self.epoch = None

    async def step_down(self) -> None:
        """Stop leading at once and free the key for the next one."""
        epoch, self.epoch = self.epoch, None
        if epoch is not None:
            await self.resign(epoch)

    async def resign(self, epoch: int) -> None:
        try:
            await self.lease.release(self.holder, epoch)
        except Unavailable:
            return  # the key expires by itself
