"""What an agent must still know after it was killed."""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """The highest epoch this host has obeyed."""

    def epoch(self) -> int: ...

    def remember(self, epoch: int) -> None:
        """Durable when it returns; never lowers what is stored."""
        ...
