"""What only time tells of edges: for how long they have not confirmed, and when to wake them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from controlplane.domain.routing import EdgeReading, Table
from controlplane.ports.clock import Clock

# An edge follows within half a second even under load; a notification that was lost never comes.
LAG_S = 1.0
# The wait grows with the lag: a dead edge is no reason to make the others read again and again.
LONGEST_S = 30.0


@dataclass(slots=True)
class EdgeWatch:
    """Edges in one tenure, by this leader's own clock. A new leader counts anew: only a delay."""

    clock: Clock
    cause: str | None = None
    confirmed_at: dict[str, float] = field(default_factory=dict)
    wake_at: float = 0.0

    def reset(self) -> None:
        """A new tenure begins."""
        self.cause = None
        self.confirmed_at.clear()
        self.wake_at = 0.0

    def timed(self, readings: tuple[EdgeReading, ...], table: Table) -> tuple[EdgeReading, ...]:
        """The readings with the time that each edge has not confirmed the table."""
        now = self.clock.monotonic()
        return tuple(self._timed(reading, reading.confirms(table), now) for reading in readings)

    def _timed(self, reading: EdgeReading, confirms: bool, now: float) -> EdgeReading:
        if confirms:
            self.confirmed_at[reading.edge] = now
            return reading
        lag_s = now - self.confirmed_at.setdefault(reading.edge, now)
        return replace(reading, unconfirmed_s=lag_s, cause=self.cause or "")

    def due(self, readings: tuple[EdgeReading, ...]) -> bool:
        """An edge lags and should be woken now; the next time is twice as late."""
        now = self.clock.monotonic()
        lag_s = max((r.unconfirmed_s for r in readings), default=0.0)
        if lag_s < LAG_S or now < self.wake_at:
            return False
        self.wake_at = now + min(lag_s, LONGEST_S)
        return True
