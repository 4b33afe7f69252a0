"""What an agent remembers, without a disk."""

from __future__ import annotations


class FakeMemory:
    """The memory port; hand the same object to the next agent of the host."""

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch
        self._acted_on = 0

    def epoch(self) -> int:
        return self._epoch

    def remember(self, epoch: int) -> None:
        self._epoch = max(self._epoch, epoch)

    def acted_on(self) -> int:
        return self._acted_on

    def act_on(self, version: int) -> None:
        self._acted_on = max(self._acted_on, version)

    def forget_goals(self) -> None:
        self._acted_on = 0
