"""What an agent makes of one slot: measured facts, on this machine's monotonic clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from controlplane.domain.model import Policy, Spec
from controlplane.domain.records import LOOK_VALID_S
from controlplane.domain.reports import Phase, SlotReport
from controlplane.ports.health import Probe
from controlplane.ports.runtime import Running

# Two looks in a row: one request may be in the edge's hands while the first count is taken.
QUIET_LOOKS = 2
FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 10.0
# While its neighbours are under way, an instance that stays as it is need not be asked each time.
ANSWER_VALID_S = 0.5
UNASKED = Probe(ready=False)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of one slot between two looks; times are monotonic seconds.

    `started` tells one process from the next. An adopted process is taken to have been healthy.
    """

    started: float
    adopted: bool = False
    ever_ready: bool = False
    ever_healthy: bool = False
    ready_since: float | None = None
    unready_since: float | None = None
    drain_since: float | None = None
    quiet_looks: int = 0
    restarts: int = 0
    restart_at: float = 0.0
    asked_at: float = -math.inf
    answer: Probe = UNASKED


def matches(answered: Spec | None, spec: Spec) -> bool:
    """The instance itself says that it is what was meant to run: version, digest, configuration."""
    return answered == spec


def proven(probe: Probe, running: Running) -> Probe:
    """The answer, as far as the runtime bears it out: what an instance says of its digest, its
    agent told it."""
    if running.digest in ("", running.spec.digest):
        return probe
    detail = f"its bytes are {running.digest}, not those of {running.spec.version}"
    return replace(probe, ready=False, detail=detail)


def follow(watch: Watch | None, running: Running, *, adopted: bool) -> Watch:
    """The watch for this process; a new process starts a new one but keeps the restart count."""
    if watch is None:
        return Watch(running.started, adopted, ever_ready=adopted, ever_healthy=adopted)
    if watch.started != running.started:
        return Watch(running.started, restarts=watch.restarts, restart_at=watch.restart_at)
    return watch


def probed(watch: Watch, probe: Probe, spec: Spec, policy: Policy, now: float) -> Watch:
    """The watch after the instance was asked; a long time of readiness forgives old restarts."""
    watch = replace(watch, asked_at=now, answer=probe)
    ready_s = now - watch.ready_since if watch.ready_since is not None else 0.0
    if watch.ready_since is not None and ready_s >= policy.min_healthy_s:
        watch = watch if watch.ever_healthy else replace(watch, ever_healthy=True)
    if probe.ready and matches(probe.spec, spec):
        if watch.ready_since is None:
            return replace(watch, ever_ready=True, ready_since=now, unready_since=None)
        forgiven = watch.restarts and ready_s >= policy.start_deadline_s
        return replace(watch, restarts=0, restart_at=0.0) if forgiven else watch
    since = watch.unready_since if watch.unready_since is not None else now
    return replace(watch, ready_since=None, unready_since=since)


def recently_fine(watch: Watch, now: float) -> bool:
    """It was healthy a moment ago, so that its last answer still holds."""
    fine = watch.ever_healthy and watch.ready_since is not None
    return fine and now - watch.asked_at < ANSWER_VALID_S


def drain_begun(watch: Watch, asked_s: float, now: float) -> float:
    """Since when the instance drains; an agent that was born since counts from the goal's age.

    The goal was set LOOK_VALID_S before it was written at the most, so that is not counted.
    """
    if watch.drain_since is not None:
        return watch.drain_since
    return now - max(0.0, asked_s - LOOK_VALID_S) if watch.adopted else now


def draining(watch: Watch, probe: Probe, now: float) -> Watch:
    """The watch while streams and requests end; what does not answer may still have some."""
    since = watch.drain_since if watch.drain_since is not None else now
    idle = probe.spec is not None and probe.streams == probe.requests == 0
    quiet = watch.quiet_looks + 1 if idle else 0
    return replace(watch, drain_since=since, quiet_looks=quiet)


def restarted(watch: Watch, now: float) -> Watch:
    """The watch after the instance was run again; each time it waits longer, within limits."""
    # No power above what the limit needs: 2**1024 is no float, and crashes may go on for days.
    backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(watch.restarts, 10))
    return replace(watch, restarts=watch.restarts + 1, restart_at=now + backoff_s)


def restart_told(watch: Watch, running: Running, policy: Policy) -> str:
    """What happened to an instance that was just run again."""
    what = f"of {running.spec.version} {running.detail or 'ended'}"
    if watch.restarts > policy.max_restarts:
        return f"{what}; it counts as failed and is still tried again, ever more slowly"
    return f"{what}; restart {watch.restarts} of {policy.max_restarts}"


def drained(watch: Watch, running: Running, policy: Policy, now: float) -> bool:
    """No stream and no request is left, or the drain deadline has passed."""
    if watch.drain_since is None:
        return False
    overdue = now - watch.drain_since >= policy.drain_deadline_s
    return watch.quiet_looks >= QUIET_LOOKS or overdue or not running.alive


def phase(watch: Watch, running: Running, policy: Policy, now: float) -> Phase:
    """Where the instance stands: see `controlplane.domain.fleet.Phase`."""
    if watch.restarts > policy.max_restarts and watch.ready_since is None:
        return Phase.FAILED
    if not running.alive:
        return Phase.EXITED
    if watch.ready_since is not None:
        healthy = now - watch.ready_since >= policy.min_healthy_s
        return Phase.HEALTHY if healthy else Phase.READY
    waiting_since = watch.unready_since if watch.ever_ready else running.started
    if waiting_since is not None and now - waiting_since > policy.start_deadline_s:
        return Phase.FAILED
    # Ready now and then, and never for long enough.
    patience_s = policy.start_deadline_s + policy.min_healthy_s
    if not watch.ever_healthy and now - running.started > patience_s:
        return Phase.FAILED
    return Phase.UNREADY if watch.ever_ready else Phase.STARTING


def report(watch: Watch, running: Running, probe: Probe, policy: Policy, now: float) -> SlotReport:
    """The slot as the leader is told of it; who has ended has no address any more."""
    stands = phase(watch, running, policy, now)
    return SlotReport(
        slot=running.slot,
        spec=running.spec,
        phase=stands,
        address=running.address if running.alive else "",
        drained=drained(watch, running, policy, now),
        restarts=watch.restarts,
        detail="" if stands in (Phase.READY, Phase.HEALTHY) else running.detail or probe.detail,
    )
