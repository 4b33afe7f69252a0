"""What goes wrong in one seed: drawn from the seed, bounded in time, then calm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from controlplane.domain.commands import Command, allowed, steer
from controlplane.domain.model import EdgesRequired, OnFailure, Policy, Spec
from tests.fakes.runtime import Behaviour
from tests.simulation.cluster import NAME, V1, V2, Cluster, Process
from tests.simulation.violation import Violation

CALM_AT_S = 14.0
# Three failed steps, the end of the lease, and a moment for the next one.
MAY_LEAD_BLINDLY_S = 20.0


def policy(rng: Random) -> Policy:
    """Any policy that can make progress, with deadlines that outlast the faults."""
    limits: list[tuple[int | str, int]] = [(1, 0), (1, 0), (0, 1), (1, 1), (2, 0), ("50%", 0)]
    surge, unavailable = rng.choice(limits)
    batches: list[int | str] = [1, 2, "100%"]
    return Policy(
        instances_per_host=rng.choice([1, 1, 2]),
        max_surge=surge,
        max_unavailable=unavailable,
        batch_size=rng.choice(batches),
        on_failure=rng.choice([OnFailure.ROLLBACK, OnFailure.ROLLBACK, OnFailure.PAUSE]),
        min_healthy_s=rng.choice([0.2, 0.6]),
        bake_s=rng.choice([0.0, 1.0]),
        smoke_url=rng.choice(["", "http://edge"]),
        start_deadline_s=6.0,
        drain_deadline_s=rng.choice([1.5, 3.0]),
        stop_grace_s=1.0,
        host_silence_s=6.0,
        edges_required=rng.choice([EdgesRequired.ALL, EdgesRequired.ALL, EdgesRequired.ANY]),
        edge_silence_s=8.0,
        preflight_deadline_s=90.0,
        migration_deadline_s=90.0,
        progress_deadline_s=60.0,
        paused_deadline_s=120.0,
        rollback_deadline_s=180.0,
    )


def behaviours(rng: Random) -> dict[str, Behaviour]:
    """How the old and the new release behave on this seed's machines."""
    streams = rng.choice([0.0, 0.0, 1.0, 6.0])
    good = Behaviour(start_s=rng.uniform(0.2, 1.0), streams_s=streams, pull_s=0.2, job_s=0.3)
    bad = rng.choice(
        [
            replace(good, ready=False),
            replace(good, crash_after_s=rng.uniform(0.1, 4.0)),
            replace(good, answers_as=Spec("0.9.0", "sha256:other", "cfg")),
            replace(good, pull_failures=99, pull_permanent=True),
            replace(good, job_failures=9),
            replace(good, smoke_failures=rng.choice([1, 9])),
            replace(good, unready=((1.5, 3.0), (4.0, 40.0))),
        ]
    )
    new = good if rng.random() < 0.65 else bad
    return {V1.digest: good, V2.digest: new}


def schedule(rng: Random, cluster: Cluster) -> list[tuple[float, Callable[[], None]]]:
    """Timed faults and the repairs that follow each of them, in order of time."""
    plan: list[tuple[float, Callable[[], None]]] = []
    for _ in range(rng.randint(0, 4)):
        begin = rng.uniform(0.0, CALM_AT_S - 2.0)
        end = min(begin + rng.uniform(0.5, 6.0), CALM_AT_S)
        plan.extend(rng.choice(_KINDS)(rng, cluster, begin, end))
    plan.sort(key=lambda p: p[0])
    return plan


Timed = list[tuple[float, Callable[[], None]]]


def _redis_down(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    return [(begin, lambda: _set(c.redis, "down", True)), (end, lambda: _redis_back(rng, c))]


def _redis_back(rng: Random, c: Cluster) -> None:
    if any(gone <= c.world.now < back for gone, back in c.unled):
        return  # a longer outage is under way
    c.redis.down = False
    if rng.random() < 0.5:
        c.redis.empty()


def _redis_emptied(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    return [(begin, c.redis.empty)]


def _store_down(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    return [
        (begin, lambda: _set(c.store, "down", True)),
        (end, lambda: _set(c.store, "down", False)),
    ]


def _store_cut_off(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    """One host loses PostgreSQL and keeps Redis, for long; others go on without it."""
    host = rng.choice(c.hosts)
    if rng.random() < 0.7:
        host = ""

    def cut() -> None:
        nonlocal host
        host = host or next((p.host for p in c.leaders()), c.hosts[0])
        _set(c.links[host], "down", True)

    def look() -> None:
        if not c.links[host].down or c.redis.down or c.store.down:
            return
        held = c.redis.get(f"camp:{NAME}:leader")
        if held and held[0].partition("#")[0] == host:
            raise Violation(f"I7: {host} leads for {MAY_LEAD_BLINDLY_S:g} s without PostgreSQL")

    return [
        (begin, cut),
        (begin + MAY_LEAD_BLINDLY_S, look),
        (begin + rng.uniform(MAY_LEAD_BLINDLY_S, 40.0), lambda: _set(c.links[host], "down", False)),
    ]


def _truth_goes_back(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    commits, epochs = rng.choice([1, 1, 3, 8]), rng.choice([0, 0, 1, 2])
    return [(begin, lambda: c.forget(commits, epochs))]


def _all_fail_alike(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    """What every instance depends on is gone for longer than an instance may take to start."""
    lasts_s = rng.uniform(8.0, 16.0)
    for machine in c.machines.values():
        machine.outages.append((begin + 1.0, begin + 1.0 + lasts_s))
    return []


def _redis_gone_for_long(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    lasts_s = rng.choice([70.0, 90.0, 120.0, 600.0]) + rng.random()

    def strike() -> None:
        c.redis.down = True
        c.unled.append((c.world.now, c.world.now + lasts_s))
        c.later(lasts_s, lambda: _redis_back(rng, c))

    return [(begin, strike)]


def _edge_stuck(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    edge, attribute = rng.choice(c.routing.edges), rng.choice(["stuck", "stuck", "down"])
    return [
        (begin, lambda: _set(edge, attribute, True)),
        (end, lambda: _set(edge, attribute, False)),
    ]


def _edge_dies(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    """It never comes back; later on, and not at once, everything else restarts once."""
    edge = rng.choice(c.routing.edges)
    restarts = [
        (CALM_AT_S + 2.0 + 12.0 * turn, partial(_restarted, c, host))
        for turn, host in enumerate(c.hosts)
    ]
    return [(begin, lambda: _set(edge, "dead", True)), *restarts]


def _restarted(c: Cluster, host: str) -> None:
    for slot in sorted(c.machines[host].slots):
        c.machines[host].crash(slot)


def _leader_killed(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    def strike() -> None:
        for process in c.leaders()[:1]:
            fell(c, process, rng.uniform(0.5, 6.0))

    return [(begin, strike)]


def _agent_killed(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    host = rng.choice(c.hosts)
    return [(begin, lambda: fell(c, c.processes[host], rng.uniform(0.5, 8.0)))]


def _leader_sleeps(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    def strike() -> None:
        for process in c.leaders()[:1]:
            sleep(c, process, rng.uniform(2.0, 9.0))

    return [(begin, strike)]


def _instance_dies(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    def strike() -> None:
        machine = c.machines[rng.choice(c.hosts)]
        if machine.slots:
            machine.crash(rng.choice(sorted(machine.slots)))

    return [(begin, strike)]


def _readiness_flaps(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    machine = c.machines[rng.choice(c.hosts)]
    machine.outages.append((begin, end))
    return []


def _engine_breaks(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    machine = c.machines[rng.choice(c.hosts)]
    return [
        (begin, lambda: _set(machine, "broken", True)),
        (end, lambda: _set(machine, "broken", False)),
    ]


def _agent_is_newer(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    """For a while a host has an agent whose reports nobody here can read."""
    host = rng.choice(c.hosts)
    return [
        (begin, lambda: c.store.newer.add(host)),
        (end, lambda: c.store.newer.discard(host)),
    ]


def _nudges_fail(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    return [
        (begin, lambda: _set(c.redis, "copies", lambda _: rng.choice([0, 0, 2]))),
        (end, lambda: _set(c.redis, "copies", lambda _: 1)),
    ]


def _two_agents(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    """A second machine is started with the name of a host, and switched off later."""
    host = rng.choice(c.hosts)
    if host in c.twins_to_come:
        return []
    c.twins_to_come.add(host)
    return [(begin, lambda: c.boot_twin(host)), (end, lambda: c.end_twin(host))]


def _operator(rng: Random, c: Cluster, begin: float, end: float) -> Timed:
    wish = rng.choice([Command.PAUSE, Command.PAUSE, Command.ROLLBACK, Command.ABORT])
    return [(begin, lambda: command(c, wish)), (end, lambda: command(c, Command.RESUME))]


_KINDS: tuple[Callable[[Random, Cluster, float, float], Timed], ...] = (
    _redis_down,
    _redis_emptied,
    _store_down,
    _edge_stuck,
    _store_cut_off,
    _truth_goes_back,
    _all_fail_alike,
    _redis_gone_for_long,
    _edge_dies,
    _leader_killed,
    _leader_killed,
    _agent_killed,
    _leader_sleeps,
    _leader_sleeps,
    _instance_dies,
    _readiness_flaps,
    _engine_breaks,
    _nudges_fail,
    _agent_is_newer,
    _two_agents,
    _operator,
)


def _set(target: object, attribute: str, value: object) -> None:
    setattr(target, attribute, value)


def command(cluster: Cluster, wish: Command) -> None:
    """An operator's request, if the rollout can take it now."""
    rollout = cluster.store.rollout
    if rollout is None or not rollout.active or cluster.store.down or wish not in allowed(rollout):
        return
    cluster.store.steer(steer(rollout, wish, "operator", cluster.world.now))


def fell(cluster: Cluster, process: Process, back_after_s: float) -> None:
    """The agent process dies where it stands and is started again later."""
    if not process.alive:
        return
    cluster.kill(process)
    cluster.later(back_after_s, process.again)


def sleep(cluster: Cluster, process: Process, seconds: float) -> None:
    """The process is not scheduled for a while and then goes on where it was."""
    if process.alive:
        process.paused_until = cluster.world.now + seconds
        for actor in process.actors:
            cluster.scheduler.at(actor, max(actor.due, process.paused_until))
