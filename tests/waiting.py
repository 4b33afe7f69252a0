"""Wait for a condition with a deadline: the only place in the tests that may sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_INTERVAL_S = 0.01
# For a busy machine: whatever holds on a quiet one does so in a fraction of it.
DEADLINE_S = 30.0


def wait_until(holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    """Return whether the condition held before the deadline."""
    end = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


async def eventually(
    holds: Callable[[], object | Awaitable[object]], deadline_s: float = DEADLINE_S
) -> bool:
    """Return whether the condition, plain or awaitable, held before the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        held = holds()
        if inspect.isawaitable(held):
            held = await held
        if held or time.monotonic() >= end:
            return bool(held)
        await asyncio.sleep(POLL_INTERVAL_S)
