"""The succession port over a host in memory: who sits there, and who waits beside."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.domain.goals import AgentGoal
from controlplane.ports.succession import Stage, Successor


@dataclass
class FakeCouncil:
    """The agents of one host; `lame` are digests whose agents end at once, with these words."""

    seated: list[str] = field(default_factory=list)
    waiting: dict[float, FakeSuccession] = field(default_factory=dict)
    lame: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeSuccession:
    """One agent's view; `predecessor` is the digest that it succeeds."""

    council: FakeCouncil
    digest: str
    obstacle: str = ""
    predecessor: str = ""
    announced: bool = False

    async def begin(self, goal: AgentGoal) -> None:
        if goal.since not in self.council.waiting:
            heir = FakeSuccession(self.council, goal.release.digest, predecessor=self.digest)
            self.council.waiting = {goal.since: heir}

    async def look(self, goal: AgentGoal) -> Successor:
        heir = self.council.waiting.get(goal.since)
        if heir is None:
            return Successor(Stage.ABSENT)
        if heir.digest in self.council.lame:
            return Successor(Stage.FAILED, self.council.lame[heir.digest])
        return Successor(Stage.READY if heir.announced else Stage.STARTING)

    async def clear(self) -> None:
        self.council.waiting.clear()

    async def announce(self) -> bool:
        self.announced = bool(self.predecessor) and self.predecessor in self.council.seated
        return self.announced

    async def finish(self) -> None:
        if self.predecessor in self.council.seated:
            self.council.seated.remove(self.predecessor)
            self.council.seated.append(self.digest)
