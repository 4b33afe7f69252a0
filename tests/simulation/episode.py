"""One seed, from a settled fleet through faults to calm, and what must be true at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from structlog.testing import capture_logs

from controlplane.domain.commands import Command
from controlplane.domain.errors import (
    BrokenInvariant,
    Fenced,
    HostTaken,
    TruthWentBack,
    Unavailable,
)
from controlplane.domain.look import look
from controlplane.domain.model import Rollout, State
from controlplane.domain.strategies.rolling import admissible, converged
from tests.simulation import faults
from tests.simulation.checks import Checks
from tests.simulation.cluster import V1, V2, Cluster
from tests.simulation.scheduler import Actor
from tests.simulation.violation import Violation

LIMIT_S = 1100.0
MAX_TURNS = 60_000
ENDS = {State.SUCCEEDED, State.ROLLED_BACK, State.FAILED, State.ABORTED, State.PAUSED}


@dataclass(slots=True)
class Outcome:
    """How a seed ended; `story` is the event log, for reading after a violation."""

    seed: int
    state: State
    turns: int
    virtual_s: float
    commits: int
    story: list[str] = field(default_factory=list)


def play(seed: int) -> Outcome:
    """Run one seed. Raises Violation with the story attached."""
    rng = Random(seed)
    episode = _Episode(rng)
    try:
        with capture_logs():
            rollout = episode.run()
    except Violation as violation:
        violation.add_note("\n".join(episode.story()))
        raise
    cluster = episode.cluster
    return Outcome(
        seed,
        rollout.state,
        cluster.scheduler.turns,
        cluster.world.now,
        episode.checks.commits,
        episode.story(),
    )


class _Episode:
    def __init__(self, rng: Random) -> None:
        policy = faults.policy(rng)
        hosts = tuple(f"host-{c}" for c in "abc"[: rng.choice([2, 2, 2, 3])])
        self.rng = rng
        self.cluster = Cluster(rng, policy, hosts, faults.behaviours(rng), rng.choice([1, 1, 2]))
        self.checks = Checks(self.cluster, policy)
        self.crashes_left = rng.choice([0, 1, 3])
        # Now and then the same release is started anew instead.
        self.target = V1 if rng.random() < 0.1 else V2
        cluster = self.cluster
        cluster.scheduler.interrupted = self._interrupted
        cluster.scheduler.failed = self._failed
        cluster.store.commits = self.checks.commit
        cluster.on_forget = self.checks.terminal.clear
        cluster.store.on_epoch = lambda _: cluster.past.remember()
        cluster.store.claims = self.checks.claimed
        cluster.on_twin_start = self.checks.twin_started
        cluster.routing.on_publish = self.checks.publish
        for machine in cluster.machines.values():
            machine.on_start = self.checks.started
        cluster.store.schema = frozenset({"0001"})
        cluster.settled(V1)

    def run(self) -> Rollout:
        cluster, world = self.cluster, self.cluster.world
        for host in cluster.hosts:
            cluster.boot(host)
        begin = self.rng.uniform(0.5, 1.5)
        cluster.later(begin, lambda: cluster.start(self.target, restart=self.target is V1))
        world.preempt_every = self.rng.choice([0, 15, 60, 200])
        for at, strike in faults.schedule(self.rng, cluster):
            cluster.later(begin + at, strike)
        self._until(begin + faults.CALM_AT_S, lambda: not cluster.timers and self._ended())
        world.preempt_every = 0
        self._until(world.now + LIMIT_S, self._ended)
        self._must_have_ended()
        # What still strikes or steers after that may resume it: then it must end once more.
        self._until(world.now + LIMIT_S, lambda: not cluster.timers and self._ended())
        rollout = self._must_have_ended()
        self._until(world.now + 90.0, self._healthy)
        self._check_end(rollout)
        return rollout

    def _until(self, until: float, done: Callable[[], bool]) -> None:
        cluster = self.cluster
        while not done() and cluster.scheduler.turns < MAX_TURNS:
            if not cluster.step(until):
                return

    def _must_have_ended(self) -> Rollout:
        rollout = self.cluster.store.rollout
        if rollout is None or not self._ended():
            raise Violation(f"I7: the rollout is still {rollout and rollout.state}")
        return rollout

    def _ended(self) -> bool:
        rollout = self.cluster.store.rollout
        return rollout is not None and rollout.state in ENDS

    def _fleet_runs(self, rollout: Rollout) -> bool:
        seen = self.cluster.store.snapshot()
        edges = [e for e in self.cluster.routing.edges if not e.dead]
        fleet = look(seen, tuple(e.reading() for e in edges))
        if rollout.state is State.SUCCEEDED:
            # What caught up afterwards began after it.
            anew = not rollout.restart or all(
                goal.rollout == rollout.id or goal.since >= rollout.state_since
                for goal in self.cluster.store.slots.values()
            )
            return anew and converged(self.target, fleet, rollout.policy)
        if rollout.state is State.ROLLED_BACK:
            return converged(V1, fleet, rollout.policy)
        serving = [i for i in fleet.instances if i.member or (i.admitted_once and admissible(i))]
        return fleet.confirmed and all(i.available for i in serving)

    def _healthy(self) -> bool:
        rollout = self.cluster.store.rollout
        return rollout is not None and self._fleet_runs(rollout)

    def _check_end(self, rollout: Rollout) -> None:
        """After the faults stopped, the fleet is what the rollout's end says."""
        behaviour = self.cluster.behaviours[self.target.digest]
        stable = behaviour.crash_after_s is None and not behaviour.unready
        if rollout.state in (State.SUCCEEDED, State.ROLLED_BACK) and stable:
            if not self._fleet_runs(rollout):
                raise Violation(f"I8: {rollout.state}, but the fleet does not run it")
        elif stable and not self._fleet_runs(rollout):
            raise Violation(f"I9: {rollout.state}, and what could serve does not")
        dead = [e.name for e in self.cluster.routing.edges if e.dead]
        late = rollout.state is State.FAILED and "deadline" in rollout.cause
        if stable and late and dead and not any(name in rollout.cause for name in dead):
            raise Violation(f"I7: {dead[0]} is dead, and the blocker was another: {rollout.cause}")

    def _interrupted(self, actor: Actor) -> float | None:
        """A preempted turn goes on soon, stalls, sleeps past its lease, or dies right there."""
        rng, process, world = self.rng, actor.owner, self.cluster.world
        fate = rng.uniform(0.80, 1.0) if world.touchy else rng.random()
        touchy, world.touchy = world.touchy, False
        if fate < 0.80:
            return rng.uniform(0.0, 0.02)
        if fate < 0.90:
            return self._stalled() if touchy else rng.uniform(0.1, 2.0)
        if self.crashes_left:
            self.crashes_left -= 1
            if fate < 0.96:
                faults.fell(self.cluster, process, rng.uniform(0.5, 6.0))
                return None
            seconds = rng.uniform(2.0, 9.0)
            faults.sleep(self.cluster, process, seconds)
            return seconds
        return 0.001

    def _stalled(self) -> float:
        """Seconds between a decision and its effect, in which an operator may step in."""
        # Longer than a look may be old, shorter than a lease lives.
        stall_s = self.rng.uniform(0.1, 4.0)
        if self.rng.random() < 0.2:
            cluster = self.cluster
            cluster.later(stall_s / 2, lambda: faults.command(cluster, Command.PAUSE))
            cluster.later(stall_s + 1.0, lambda: faults.command(cluster, Command.RESUME))
        return stall_s

    def _failed(self, actor: Actor, error: Exception) -> float:
        """Outages and refusals pass; everything else is a bug that the simulation has found."""
        if isinstance(error, Unavailable | TruthWentBack | Fenced | HostTaken):
            return 1.0
        if isinstance(error, BrokenInvariant):
            raise Violation(error.sentence) from error
        if isinstance(error, Violation):
            raise error
        raise Violation(f"{actor.name} broke down: {type(error).__name__}: {error}") from error

    def story(self) -> list[str]:
        return self.checks.story
