"""Names that we give: short, sortable by time, readable aloud."""

from __future__ import annotations

import re
from datetime import UTC, datetime

ROLLOUT_ID = re.compile(r"r-\d{8}-\d{6}-[0-9a-f]{4}")


def rollout_id(now: float, entropy: bytes) -> str:
    """The name of a rollout begun at `now` (epoch seconds), such as r-20261123-142530-7f3a.

    Two bytes of `entropy` tell rollouts of the same second apart.
    """
    return f"r-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{entropy[:2].hex()}"
