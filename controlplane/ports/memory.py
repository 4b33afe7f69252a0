"""What an agent must still know after it was killed."""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """The highest epoch this host has obeyed, and the version of the goals it acted on last."""

    def epoch(self) -> int: ...

    def remember(self, epoch: int) -> None:
        """Durable when it returns; never lowers what is stored."""
        ...

    def acted_on(self) -> int:
        """0 before the first goals, and after `forget_goals`."""
        ...

    def act_on(self, version: int) -> None:
        """Durable when it returns; never lowers what is stored."""
        ...

    def forget_goals(self) -> None:
        """The environment does not know this host any more: its next goals are new ones."""
        ...
