"""Works on runs inside an instance: takes, keeps its leases, gives back at the drain."""

import asyncio
import random
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from camp.errors import CampError
from camp.lifecycle import Lifecycle
from camp.runs.kinds import Kinds
from camp.runs.leases import Lease, LeaseLost, Leases
from camp.runs.nudges import Nudges
from camp.runs.schemas import RunFault

log = structlog.get_logger("camp.runs")

POLL_S = 1.0
SWEEP_S = 10.0
RETRY_BASE_S = 1.0
RETRY_MAX_S = 60.0
GIVE_BACK_S = 2.0
LOST = (SQLAlchemyError, OSError, TimeoutError)
"""What a database that does not answer raises."""


class Attempt:
    """One attempt at a run, as its work sees it."""

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self._leases = leases
        self.lease = lease

    @property
    def user_id(self) -> UUID:
        return self.lease.user_id

    @property
    def checkpoint(self) -> dict[str, Any] | None:
        return self.lease.checkpoint

    async def report(self, done: int, total: int | None, checkpoint: dict[str, Any]) -> None:
        await self._leases.report(self.lease, done, total, checkpoint)


class RunWorker:
    """Up to `slots` runs at once; 0 works on none."""

    def __init__(
        self,
        leases: Leases,
        kinds: Kinds,
        lifecycle: Lifecycle,
        nudges: Nudges,
        *,
        slots: int,
        lease_s: float,
        retention_days: int,
    ) -> None:
        self._leases = leases
        self._kinds = kinds
        self._lifecycle = lifecycle
        self._nudges = nudges
        self._slots = slots
        self._lease_s = lease_s
        self._retention = timedelta(days=retention_days)
        self._held: dict[asyncio.Task[None], Lease] = {}
        self._renewed_at = self._swept_at = time.monotonic()
        self._loop: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Runs in hand."""
        return len(self._held)

    def start(self) -> None:
        """Begin to take runs; needs a running event loop."""
        if self._slots:
            self._loop = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Give back what is held; the database has `GIVE_BACK_S` to hear of it."""
        if self._loop is not None:
            if not self._lifecycle.draining.is_set():  # else it ends by itself, and is at it
                self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while not self._lifecycle.draining.is_set():
                await self._wait()
                try:
                    await self._keep()
                    await self._take()
                except LOST as error:
                    log.warning("runs wait for the database", cause=repr(error))
        finally:
            await self._give_back()

    async def _wait(self) -> None:
        """Until a nudge, the drain, or a poll that no other instance makes at the same time."""
        pause_s = min(random.uniform(POLL_S, 1.5 * POLL_S), self._lease_s / 3)  # noqa: S311
        waits = {
            asyncio.ensure_future(self._nudges.wait()),
            asyncio.ensure_future(self._lifecycle.draining.wait()),
        }
        try:
            await asyncio.wait(waits, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _keep(self) -> None:
        """Renew the leases, and stop what is no longer ours."""
        if not self._held:
            return
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(self._lease_s / 3):
                kept = await self._leases.renew(self._held.values())
        except LOST:
            if time.monotonic() - self._renewed_at >= self._lease_s:
                self._stop(set())
            raise
        self._renewed_at = asked_at
        self._stop(kept)

    def _stop(self, kept: set[UUID]) -> None:
        for task, lease in self._held.items():
            if lease.run_id not in kept:
                task.cancel()

    async def _take(self) -> None:
        if time.monotonic() - self._swept_at >= SWEEP_S:
            self._swept_at = time.monotonic()
            await self._leases.sweep()
            if self._retention:
                await self._leases.forget(self._retention)
        free = self._slots - len(self._held)
        if free <= 0 or self._lifecycle.draining.is_set():
            return
        if not self._held:
            self._renewed_at = time.monotonic()
        for lease in await self._leases.take(self._kinds, free):
            task = asyncio.create_task(self._attempt(lease))
            self._held[task] = lease
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._held.pop(task, None)
        self._nudges.wake()

    async def _attempt(self, lease: Lease) -> None:
        kind = self._kinds[lease.kind]
        try:
            given = msgspec.convert(lease.input, kind.input)
            result = await kind.work(Attempt(self._leases, lease), given)
            await self._leases.succeed(lease, result)
        except LeaseLost:
            log.info("run lost", run_id=str(lease.run_id), fence=lease.fence)
        except CampError as error:
            await self._fail(lease, RunFault(error.code, str(error), error.retryable))
        except Exception as error:  # noqa: BLE001 - the top of a worker: no run may end it
            log.warning("run failed", run_id=str(lease.run_id), cause=repr(error))
            await self._fail(lease, _OURS)

    async def _fail(self, lease: Lease, fault: RunFault) -> None:
        again = fault.retryable and lease.attempt < lease.attempts_max
        pause_s = min(RETRY_BASE_S * 2 ** (lease.attempt - 1), RETRY_MAX_S)
        pause_s *= random.uniform(0.5, 1)  # noqa: S311 - spreads retries, hides nothing
        with suppress(LeaseLost, *LOST):  # it will be taken again when its lease ends
            await self._leases.fail(lease, fault, pause_s if again else None)

    async def _give_back(self) -> None:
        held = dict(self._held)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                for lease in held.values():
                    with suppress(LeaseLost, *LOST):
                        await self._leases.release(lease)
                if held:
                    log.info("runs given back", count=len(held))
                    await self._nudges.send()


_OURS = RunFault("internal_error", "Something went wrong on our side.", True)
