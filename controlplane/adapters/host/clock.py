"""This machine's monotonic clock."""

from __future__ import annotations

import time


class SystemClock:
    """Seconds since an arbitrary start; not set back by clock changes, not comparable elsewhere."""

    def monotonic(self) -> float:
        return time.monotonic()
