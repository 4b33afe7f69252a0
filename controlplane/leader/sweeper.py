"""The sweeper's story: while we lead, forget what the policy no longer keeps, now and then."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from controlplane.domain.errors import Fenced, Stale
from controlplane.domain.records import SWEPT_ROWS
from controlplane.leader.tenure import Tenure
from controlplane.ports.store import Store

log = structlog.get_logger(__name__)

SWEEP_S = 60.0
# While there is more than one batch, and between two glances at whether we lead.
SOON_S = 2.0


@dataclass(slots=True)
class Sweeper:
    """Sweeps in the tenure of this process."""

    tenure: Tenure
    store: Store

    async def tick(self) -> float:
        """One batch of each kind. Returns the seconds until the next. Raises StoreUnavailable."""
        epoch = self.tenure.safe_epoch()
        if epoch is None:
            return SOON_S
        try:
            swept = await self.store.sweep(epoch, self.tenure.holder)
        except (Fenced, Stale) as error:
            # The leader's own loop finds out whether it still leads.
            log.info("sweep_dropped", code=error.code, detail=error.sentence)
            return SWEEP_S
        return SOON_S if swept >= SWEPT_ROWS else SWEEP_S
