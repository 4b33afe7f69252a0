"""Virtual time for production coroutines: they run between two points, one at a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.fakes.world import World

# Nothing takes no time at all: a loop that looks again "at once" still lets the world move.
LEAST_S = 0.002

# Between a decision and its effect, and between an effect and its record: where a crash or a
# sleep does the most harm.
TOUCHY = frozenset(
    {
        "store.commit",
        "store.commit.done",
        "routing.publish",
        "routing.publish.done",
        "runtime.start",
        "runtime.start.done",
        "store.claim_epoch.done",
    }
)
TOUCHY_CHANCE = 0.05


class _Yield:
    def __await__(self) -> Generator[None, None, None]:
        yield


_YIELD = _Yield()


class SimWorld(World):
    """A world whose points hand control back to the scheduler now and then.

    `preempt_every` is the mean number of points between two interruptions; 0: never.
    """

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.rng = rng
        self.preempt_every = 0
        self.left = -1
        self.touchy = False

    async def point(self, name: str) -> None:
        self.left -= 1
        if name in TOUCHY and self.preempt_every and self.rng.random() < TOUCHY_CHANCE:
            self.touchy = True
            await _YIELD
        elif self.left == 0:
            await _YIELD

    def rearm(self) -> None:
        self.left = self.rng.randint(1, 2 * self.preempt_every) if self.preempt_every else -1


@dataclass(slots=True, eq=False)
class Actor:
    """One loop of one process; `tick` makes the coroutine of its next turn."""

    name: str
    tick: Callable[[], Coroutine[Any, Any, float]]
    stretch: float = 1.0
    longest_s: float = 60.0
    turn: Coroutine[Any, Any, float] | None = None
    due: float = 0.0
    serial: int = 0
    nudged: bool = False
    owner: Any = None


@dataclass(slots=True)
class Scheduler:
    """Runs actors in the order of virtual time; `interrupted` decides what a preemption becomes.

    It returns the seconds after which the actor goes on, or None when its process has died.
    """

    world: SimWorld
    interrupted: Callable[[Actor], float | None]
    failed: Callable[[Actor, Exception], float]
    queue: list[tuple[float, int, Actor]] = field(default_factory=list)
    serial: int = 0
    turns: int = 0

    def at(self, actor: Actor, due: float) -> None:
        """Let the actor's next turn begin (or go on) at `due`; replaces what was planned."""
        self.serial += 1
        actor.serial, actor.due = self.serial, due
        heapq.heappush(self.queue, (due, self.serial, actor))

    def wake(self, actor: Actor, latency_s: float) -> None:
        """A nudge: begin the next turn soon, or right after the present one."""
        if actor.turn is not None:
            actor.nudged = True
        elif actor.due > self.world.now + latency_s and actor.serial:
            self.at(actor, self.world.now + latency_s)

    def drop(self, actor: Actor) -> None:
        """The actor's process died: its coroutine is never resumed."""
        turn, actor.turn = actor.turn, None
        actor.serial = 0
        actor.nudged = False
        if turn is not None:
            turn.close()

    def step(self, until: float) -> bool:
        """Run the next due actor; false when nothing is due before `until`."""
        while self.queue:
            due, serial, actor = self.queue[0]
            if due > until:
                break
            heapq.heappop(self.queue)
            if serial == actor.serial:
                self.world.now = max(self.world.now, due)
                self._run(actor)
                return True
        self.world.now = max(self.world.now, until)
        return False

    def _run(self, actor: Actor) -> None:
        self.turns += 1
        if actor.turn is None:
            actor.turn = actor.tick()
        self.world.rearm()
        try:
            actor.turn.send(None)
        except StopIteration as done:
            actor.turn = None
            wait = 0.0 if actor.nudged else min(done.value * actor.stretch, actor.longest_s)
        except Exception as error:  # noqa: BLE001 - judged by `failed`, which raises what is a bug
            actor.turn = None
            wait = self.failed(actor, error)
        else:
            pause = self.interrupted(actor)
            if pause is None:
                return
            self.at(actor, self.world.now + pause)
            return
        actor.nudged = False
        self.at(actor, self.world.now + max(wait, LEAST_S))
