"""What the demo knows at this moment; the screen draws it, or prints what is new as lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.demo.measure.load import Status
from controlplane.demo.measure.sampler import Sample
from controlplane.domain.model import Kind, Release, State
from controlplane.wire import EventView, HostView, RolloutView, Why

STEPS = (
    "start the servers",
    "deploy 1.0.0",
    "roll to 1.1.0, kill the leader",
    "roll to 1.2.0, which fails",
    "roll back to 1.0.0",
)
NEWS_KEPT = 50


@dataclass(slots=True)
class Board:
    """Written by the scenario and its watchers; `step` is an index of STEPS."""

    tell: Callable[[str], None] = lambda _: None
    begun: float = field(default_factory=time.monotonic)
    step: int = 0
    hosts: tuple[HostView, ...] = ()
    rollout: RolloutView | None = None
    why: Why | None = None
    load: Status | None = None
    sample: Sample | None = None
    over: bool = False
    news: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=NEWS_KEPT))

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begun

    @property
    def goal(self) -> Release | None:
        """Where the rollout moves to now; one that turned round moves to its source."""
        if self.rollout is None:
            return None
        turned = self.rollout.state in (State.ROLLING_BACK, State.ROLLED_BACK)
        return (self.rollout.source or self.rollout.target) if turned else self.rollout.target

    @property
    def desired(self) -> int:
        return self.rollout.policy.instances_per_host * len(self.hosts) if self.rollout else 0

    @property
    def moved(self) -> int:
        """Instances of the goal that serve."""
        goal = self.goal
        there = [i for h in self.hosts for i in h.instances if goal and i.digest == goal.digest]
        return min(self.desired, sum(i.available for i in there))

    @property
    def title(self) -> str:
        """The rollout in words."""
        rollout = self.rollout
        if rollout is None:
            return ""
        source = rollout.source.version if rollout.source else "nothing"
        verb = "back " if rollout.kind is Kind.ROLLBACK else ""
        return f"{verb}{source} → {rollout.target.version}"

    def say(self, line: str) -> None:
        """Something happened."""
        self.news.append((self.elapsed_s, line))
        self.tell(line)

    def event(self, event: EventView) -> None:
        """Something happened in the control plane."""
        self.say(event.message)
