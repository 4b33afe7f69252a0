"""What must hold before a rollout goes on. A gate is open, waits for one thing, or failed."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.fleet import Fleet, Goal, Host, Instance, Job, JobState, Phase, bounds
from controlplane.domain.model import Blocker, Policy, Release, Rollout


@dataclass(frozen=True, slots=True)
class Wait:
    """A gate that is closed for now."""

    code: str
    sentence: str
    next_actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A gate that will not open for this release."""

    sentence: str


def blocker(wait: Wait, rollout: Rollout, now: float) -> Blocker:
    """The wait as the rollout's blocker; `since` stays while the same thing is waited for."""
    last = rollout.blocker
    if last is not None and (last.code, last.sentence) == (wait.code, wait.sentence):
        return last
    return Blocker(wait.code, wait.sentence, now, wait.next_actions)


def needed_images(rollout: Rollout) -> tuple[Release, ...]:
    """What every host holds before the first stop: where we go, and where we could return to."""
    if rollout.source is None or rollout.source.digest == rollout.target.digest:
        return (rollout.target,)
    return (rollout.target, rollout.source)


def preflight(rollout: Rollout, fleet: Fleet) -> Wait | Failure | None:
    """Hosts speak, edges answer, and the bytes of both releases are on every host."""
    for host in fleet.hosts:
        for image in host.image_errors:
            if image.permanent and image.digest == rollout.target.digest:
                return Failure(f"{host.name} cannot use {rollout.target.version}: {image.error}")
    return silence(fleet, rollout.policy) or edges(fleet) or _images(rollout, fleet)


def silence(fleet: Fleet, policy: Policy) -> Wait | None:
    """Silent hosts beyond what max_unavailable lets us do without."""
    limits = bounds(policy, len(fleet.hosts))
    silent = [h for h in fleet.hosts if h.silent]
    quarantined = [h for h in silent if h.silent_s > policy.host_silence_s]
    lost = policy.instances_per_host * len(quarantined)
    tolerated = len(quarantined) == len(silent) and limits.desired - lost >= limits.min_available
    if not silent or tolerated:
        return None
    host = max(silent, key=lambda h: h.silent_s)
    return Wait(
        "host_silent",
        f"The agent of {host.name} has not reported; its instances keep serving.",
        ("start the agent on that host", "abort"),
    )


def edges(fleet: Fleet) -> Wait | None:
    """Every edge answers with the intended table."""
    if fleet.confirmed:
        return None
    reading = fleet.unconfirmed[0]
    seen = f"revision {reading.revision}" if reading.revision is not None else reading.error
    return Wait(
        "edge_unconfirmed",
        f"Edge {reading.edge} does not serve table revision {fleet.table.revision} ({seen}).",
        ("check that the edge runs and reads Redis", "pause", "abort"),
    )


def _images(rollout: Rollout, fleet: Fleet) -> Wait | None:
    for host in fleet.hosts:
        for release in needed_images(rollout):
            if release.digest not in host.images and not host.silent:
                error = next((e.error for e in host.image_errors if e.digest == release.digest), "")
                reason = f": {error}" if error else "."
                return Wait(
                    "image_missing",
                    f"{host.name} is still fetching {release.version}{reason}",
                    ("check that the image can be read from that host", "abort"),
                )
    return None


def missing_images(rollout: Rollout, host: Host) -> list[Release]:
    """The releases this host has not been told to hold yet."""
    return [r for r in needed_images(rollout) if r.digest not in host.wanted_images]


def migration(rollout: Rollout, fleet: Fleet) -> Job | Wait | Failure | None:
    """None: the schema is there. A Job: run it next; a lost host's run is repeated elsewhere."""
    if rollout.target.schema_head in fleet.schema:
        return None
    speaking = [h.name for h in fleet.hosts if not h.silent and rollout.target.digest in h.images]
    tried = [j for j in fleet.jobs if j.id.startswith(f"{rollout.id}/")]
    last = tried[-1] if tried else None
    if last is not None and last.state is JobState.FAILED:
        return Failure(f"The migration failed on {last.host}: {last.detail or 'no output'}")
    host = fleet.host(last.host) if last else None
    if last is None or host is None or host.silent_s > rollout.policy.host_silence_s:
        if not speaking:
            return Wait("host_silent", "No host can run the migration.", ("start an agent",))
        job = f"{rollout.id}/{len(tried) + 1}"
        return Job(job, speaking[0], rollout.target, ("migrate", "upgrade"))
    return Wait(
        "migration_running",
        f"{last.host} migrates the database to {rollout.target.schema_head}.",
        ("wait", "abort"),
    )


def readiness(rollout: Rollout, fleet: Fleet, now: float) -> Failure | None:
    """An instance of the target that failed, or did not become healthy in time."""
    policy = rollout.policy
    for instance in fleet.instances:
        if instance.spec != rollout.target.spec or instance.goal is not Goal.RUN or instance.silent:
            continue
        if instance.phase is Phase.FAILED:
            return Failure(_failed(instance, rollout.target))
        overdue = now - instance.since > policy.start_deadline_s + policy.min_healthy_s
        if overdue and not instance.admitted_once and instance.phase is not Phase.HEALTHY:
            return Failure(_failed(instance, rollout.target))
    return None


def _failed(instance: Instance, release: Release) -> str:
    detail = f": {instance.detail}" if instance.detail else "."
    return f"{release.version} did not become ready on {instance.name}{detail}"


def convergence(release: Release, fleet: Fleet, policy: Policy) -> Wait:
    """Why nothing can be done at this moment while instances are being replaced."""
    moving = next((w for i in fleet.instances if not i.silent and (w := _moving(i, release))), None)
    return edges(fleet) or moving or silence(fleet, policy) or _capacity(fleet, policy)


def _moving(instance: Instance, release: Release) -> Wait | None:
    if instance.goal is Goal.STOP:
        return Wait("stopping", f"{instance.name} is stopping.", ("wait",))
    if instance.goal is Goal.DRAIN:
        return Wait("draining", f"{instance.name} lets its streams end.", ("wait",))
    if instance.spec != release.spec or instance.goal is not Goal.RUN or instance.available:
        return None
    if instance.phase is Phase.READY:
        return Wait("min_healthy", f"{instance.name} is ready and must stay so.", ("wait",))
    detail = f" ({instance.detail})" if instance.detail else ""
    return Wait(
        "starting", f"{instance.name} is not ready yet{detail}.", ("wait", "pause", "abort")
    )


def _capacity(fleet: Fleet, policy: Policy) -> Wait:
    """Nothing moves although nothing is under way: too few instances are available to go on."""
    limits = bounds(policy, len(fleet.hosts))
    quarantined = [h.name for h in fleet.hosts if h.silent]
    who = f"; {', '.join(quarantined)} silent" if quarantined else ""
    return Wait(
        "capacity",
        f"{fleet.available} instances are available, {limits.min_available} must remain{who}.",
        ("repair the instances that are down", "pause", "abort"),
    )
