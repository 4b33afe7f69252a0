"""What must hold before a rollout goes on. A gate is open, waits for one thing, or failed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controlplane.domain.actions import ReplaceAgent
from controlplane.domain.bounds import limits_of, quarantined
from controlplane.domain.commands import Command, allowed
from controlplane.domain.environs import differences
from controlplane.domain.fleet import Fleet, Host, Instance
from controlplane.domain.goals import AgentGoal, Goal, Job, JobState
from controlplane.domain.model import Blocker, Kind, Policy, Release, Rollout, count
from controlplane.domain.protocol import PROTOCOL, skewed
from controlplane.domain.reports import SERVING, Phase
from controlplane.domain.routing import EdgeReading, Table
from controlplane.domain.strategies.rolling import unproven

AGENT_REPLACED = "agent_replaced"
FAILING_ALIKE = "failing_alike"
RECOVERING = "recovering"
SMOKE = "smoke"
# Once more, from another host if there is one: a single hiccup takes no release back.
SMOKE_TRIES = 2
# More than by hand: the hosts are at their busiest now.
SMOKE_LIMIT_S = 10


@dataclass(frozen=True, slots=True)
class Wait:
    """A gate that is closed for now; `detail` says how far it has come, and changes."""

    code: str
    sentence: str
    next_actions: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A gate that will not open for this release."""

    sentence: str


def blocker(wait: Wait, rollout: Rollout, now: float) -> Blocker:
    """The wait as the rollout's blocker; `since` stays while the same thing is waited for.

    A command that the rollout would refuse in its present state is no next action.
    """
    last = rollout.blocker
    # Releases before wrote the detail into the sentence.
    if last is not None and last.code == wait.code and last.sentence.startswith(wait.sentence):
        return replace(last, sentence=wait.sentence, detail=wait.detail)
    refused = set(Command) - set(allowed(rollout))
    actions = tuple(a for a in wait.next_actions if a not in refused)
    return Blocker(wait.code, wait.sentence, now, actions, wait.detail)


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
        if rollout.policy.update_agents and (obstacle := _obstacle(host)):
            return Failure(f"The agent of {host.name} cannot be replaced: {obstacle}")
    return (
        schema(rollout, fleet)
        or silence(fleet, rollout.policy)
        or claims(rollout, fleet)
        or environments(fleet)
        or edges(fleet)
        or images(rollout, fleet)
    )


def schema(rollout: Rollout, fleet: Fleet) -> Failure | None:
    """The database is within what the target can live with, once its own revisions are applied."""
    target = rollout.target
    if target.schema_head in fleet.retired:
        return Failure(
            f"{target.version} carries the schema up to {target.schema_head}, and a contract that"
            " was applied since has taken away what it relies on; deploy a release that carries it."
        )
    if target.schema_head in fleet.schema and target.schema_min not in fleet.schema:
        return Failure(
            f"{target.version} needs schema revision {target.schema_min} at least, which this"
            " database has never had; look at camp migrate status."
        )
    return None


def claims(rollout: Rollout, fleet: Fleet) -> Wait | None:
    """One agent for each host: a second one is refused, and somebody takes it for at work.

    It does no harm, so it does not stand in the way back.
    """
    host = next((h for h in fleet.hosts if h.rival), None)
    if host is None or rollout.kind is Kind.ROLLBACK:
        return None
    return Wait(
        "host_claimed_twice",
        f"A second agent, {host.rival}, claims {host.name} and is refused, because {host.holder}"
        " has it.",
        ("stop the second agent, or give it another --host", "abort"),
    )


def environments(fleet: Fleet) -> Wait | None:
    """Instances start with the same variables on every host, or users would notice which one."""
    found = differences(fleet.hosts) if fleet.one_environment else ()
    if not found:
        return None
    named = "; ".join(f"{variable} on {', '.join(hosts)}" for variable, hosts in found)
    return Wait(
        "environment_differs",
        f"Instances would not start with the same variables everywhere: {named} is not as on the"
        " other hosts.",
        ("give all hosts the same values, and start their agents again", "abort"),
    )


def silence(fleet: Fleet, policy: Policy) -> Wait | None:
    """Silent hosts beyond what max_unavailable lets us do without."""
    silent = [h for h in fleet.hosts if h.silent]
    if not silent:
        return None
    away = quarantined(policy, fleet)
    unheard = [h for h in silent if h.name not in away]
    return _unheard(unheard) if unheard else None


def _obstacle(host: Host) -> str:
    """Why the host's agent cannot be replaced; a silent host's is asked when it speaks."""
    if host.silent:
        return ""
    if host.agent is None:
        return "it is too old to say how. Replace it by hand this once."
    return host.agent.obstacle


def agents_begun(rollout: Rollout, fleet: Fleet) -> bool:
    """The release held, and since then the agents are being replaced."""
    goals = (host.agent_goal for host in fleet.hosts)
    return any(goal is not None and _asked(rollout, goal) for goal in goals)


def agents(rollout: Rollout, fleet: Fleet) -> ReplaceAgent | Wait | Failure | None:
    """None: every agent is the release's, or none is to be. One at a time, the leader's last."""
    target = rollout.target
    if not rollout.policy.update_agents:
        return None
    outdated = [h for h in fleet.hosts if h.agent is None or h.agent.digest != target.digest]
    if not outdated:
        return None
    under_way = [h for h in outdated if h.agent_goal and _asked(rollout, h.agent_goal)]
    host = min(under_way or outdated, key=lambda h: (h.name == fleet.leader, h.name))
    if not under_way:
        return ReplaceAgent(host.name, target)
    goal = host.agent_goal
    if host.agent is not None and goal is not None and host.agent.refused == goal.since:
        return Failure(
            f"The agent of {host.name} goes on as {host.agent_version}: {host.agent.detail}"
        )
    return Wait(
        AGENT_REPLACED,
        f"The agent of {host.name} is being replaced by that of {target.version}.",
        ("wait", "pause", "abort"),
    )


def _asked(rollout: Rollout, goal: AgentGoal) -> bool:
    """The goal belongs to this attempt: after a pause a new one begins."""
    return goal.release.digest == rollout.target.digest and goal.since >= rollout.state_since


def _unheard(silent: list[Host]) -> Wait:
    unread = next((h for h in silent if h.unread and not skewed(h.protocol)), None)
    if unread is not None:
        return Wait(
            "protocol_skew",
            f"The leader cannot read what the agent of {unread.name} reports ({unread.unread});"
            " its instances keep serving.",
            (f"replace the agent of {unread.name}", "pause", "rollback", "abort"),
        )
    apart = [h for h in silent if skewed(h.protocol)]
    if apart:
        return Wait(
            "protocol_skew",
            f"The agent of {apart[0].name} speaks protocol {apart[0].protocol} and the leader"
            f" {PROTOCOL}, and only neighbouring ones understand each other; its instances keep"
            " serving.",
            (f"replace the agent of {apart[0].name}", "pause", "rollback", "abort"),
        )
    broken = next((h for h in silent if h.runtime_error), None)
    if broken is not None:
        return Wait(
            "runtime_unavailable",
            f"{broken.name} cannot see its instances, which may still serve: "
            f"{broken.runtime_error}",
            ("repair what runs its instances", "pause", "rollback", "abort"),
        )
    names = ", ".join(h.name for h in silent)
    return Wait(
        "host_silent",
        f"No report comes from the agent of {names}; its instances keep serving.",
        ("start the agent there", "pause", "rollback", "abort"),
    )


def edges(fleet: Fleet) -> Wait | None:
    """Every edge answers with the intended table."""
    if fleet.confirmed:
        return None
    reading = max(fleet.unconfirmed, key=lambda r: r.unconfirmed_s)
    seen = f"Revision {fleet.table.revision} is wanted: {_served(reading, fleet.table)}."
    remove = (f"remove {reading.edge} with camp env apply",) if reading in fleet.lost else ()
    return Wait(
        "edge_unconfirmed",
        f"Edge {reading.edge} does not serve the intended table.",
        ("check that the edge runs and reads Redis", *remove, "pause", "abort"),
        f"{seen} {reading.cause}".rstrip(),
    )


def _served(reading: EdgeReading, table: Table) -> str:
    if reading.revision is None:
        return reading.error
    if reading.revision != table.revision:
        return f"it serves {reading.revision}"
    missing, foreign = table.addresses - reading.servers, reading.servers - table.addresses
    said = [f"it lacks {min(missing)}"] if missing else []
    said += [f"it has {min(foreign)} besides"] if foreign else []
    return " and ".join(said)


def reach(fleet: Fleet) -> Wait | None:
    """Every edge can reach what it sends traffic to."""
    for instance in fleet.instances:
        if instance.unreached_by and instance.phase in SERVING:
            edge = instance.unreached_by[0]
            return Wait(
                "edge_calls_down",
                f"Edge {edge} cannot reach {instance.name} at {instance.address}, which is ready by"
                " its agent's word.",
                (
                    f"check the firewall between them and --address of {instance.host}",
                    *("pause", "rollback", "abort"),
                ),
            )
    return None


def images(rollout: Rollout, fleet: Fleet) -> Wait | None:
    """The bytes of both releases on every host that speaks: where we go, and the way back."""
    needed = needed_images(rollout)
    for host in fleet.hosts:
        for release in needed:
            if release.digest not in host.images and not host.silent:
                error = next((e.error for e in host.image_errors if e.digest == release.digest), "")
                reason = f": {error}" if error else "."
                return Wait(
                    "image_missing",
                    f"{host.name} is still fetching {release.version}{reason}",
                    ("check that the image can be read from that host", "rollback", "abort"),
                    _how_far(host, release),
                )
    return None


def _how_far(host: Host, release: Release) -> str:
    """What has come of a pull: a layer counts from when the registry says how long it is."""
    pull = next((p for p in host.pulls if p.digest == release.digest), None)
    if pull is None or not pull.total_bytes:
        return ""
    return f"{pull.here_bytes // 1_000_000} of {pull.total_bytes // 1_000_000} MB are here."


def missing_images(rollout: Rollout, host: Host) -> list[Release]:
    """The releases this host has not been told to hold yet."""
    return [r for r in needed_images(rollout) if r.digest not in host.wanted_images]


def migration(rollout: Rollout, fleet: Fleet) -> Job | Wait | Failure | None:
    """None: the schema is there. A Job: run it next; a lost host's run is repeated elsewhere."""
    if rollout.target.schema_head in fleet.schema:
        return None
    speaking = _able(rollout, fleet)
    ours = f"{rollout.id}/"
    tried = [j for j in fleet.jobs if j.id.startswith(ours) and j.command[0] != SMOKE]
    last = tried[-1] if tried else None
    if last is not None and last.state is JobState.FAILED:
        return Failure(f"The migration failed on {last.host}: {last.detail or 'no output'}")
    if last is not None and last.state is JobState.SUCCEEDED:
        # One look sees the schema and the job together, so it will not come by waiting.
        head = rollout.target.schema_head
        return Failure(f"The migration ended on {last.host}, but the schema is not at {head}.")
    if last is None or _lost(last, rollout, fleet):
        if not speaking:
            return Wait("host_silent", "No host can run the migration.", ("start an agent",))
        return Job(
            f"{rollout.id}/{len(tried) + 1}", speaking[0], rollout.target, ("migrate", "upgrade")
        )
    return Wait(
        "migration_running",
        f"{last.host} migrates the database to {rollout.target.schema_head}.",
        ("wait", "abort"),
        f"It says: {last.detail}" if last.detail else "",
    )


def checks(rollout: Rollout, fleet: Fleet) -> Job | Wait | Failure | None:
    """None: users are served, or nobody asked. A Job: use the service once, as a user would.

    The way back is not checked: it goes to what has served before.
    """
    url = rollout.policy.smoke_url
    if not url or rollout.kind is Kind.ROLLBACK:
        return None
    # Those of this attempt: after a pause the checks begin anew.
    attempt = f"{rollout.id}/{SMOKE}-{rollout.state_since:.3f}-"
    tried = [j for j in fleet.jobs if j.id.startswith(attempt)]
    last = tried[-1] if tried else None
    if last is not None and last.state is JobState.SUCCEEDED:
        return None
    failed = [j for j in tried if j.state is JobState.FAILED]
    if len(failed) >= SMOKE_TRIES:
        said = failed[-1].detail or "no output"
        return Failure(f"The checks of {url} failed {len(failed)} times: {said}")
    if last is None or last in failed or _lost(last, rollout, fleet):
        if not (able := _able(rollout, fleet)):
            return Wait("host_silent", "No host can run the checks.", ("start an agent",))
        command = (SMOKE, "--timeout", str(SMOKE_LIMIT_S), url)
        host = able[len(tried) % len(able)]
        return Job(f"{attempt}{len(tried) + 1}", host, rollout.target, command)
    return Wait(
        "checks_running",
        f"{last.host} uses {url} as a user would.",
        ("wait", "pause", "rollback", "abort"),
    )


def _able(rollout: Rollout, fleet: Fleet) -> list[str]:
    """The hosts that can run the target once, by name."""
    return [h.name for h in fleet.hosts if not h.silent and rollout.target.digest in h.images]


def _lost(job: Job, rollout: Rollout, fleet: Fleet) -> bool:
    """Nobody will say how it ended."""
    host = fleet.host(job.host)
    return host is None or host.silent_s > rollout.policy.host_silence_s


def readiness(rollout: Rollout, fleet: Fleet, now: float) -> Wait | Failure | None:
    """More instances of the target failed, or did not become ready in time, than may fail.

    No verdict while the old ones fail alike, nor right after: the cause is elsewhere, and what
    suffered from it needs its time to come back.
    """
    bad = failed(rollout, fleet, now)
    if not bad:
        return None
    held = rollout.blocker
    patience_s = rollout.policy.start_deadline_s + rollout.policy.min_healthy_s
    if _old_fail_alike(rollout, fleet):
        return Wait(
            FAILING_ALIKE,
            f"Instances of {rollout.target.version} are not ready, and neither are those that ran"
            " before: the cause is elsewhere, so the release is not judged.",
            ("look at what instances depend on", "pause", "rollback", "abort"),
        )
    recovering = held is not None and held.code == RECOVERING and now - held.since < patience_s
    if recovering or (held is not None and held.code == FAILING_ALIKE):
        return Wait(
            RECOVERING,
            f"What ran before serves again; instances of {rollout.target.version} have"
            f" {patience_s:g} s to do the same.",
            ("wait", "pause", "rollback", "abort"),
        )
    may_fail = failures_allowed(rollout.policy, fleet)
    if len(bad) <= may_fail:
        return None
    return Failure(_failed(bad, may_fail, rollout.target))


def failed(rollout: Rollout, fleet: Fleet, now: float) -> list[Instance]:
    """Instances of the target that failed, or were never seen in time.

    Of what an agent reports it says itself when that took too long or ended too often: only the
    agent knows for how long it was away. What it does not report at all is timed here.
    """
    spec = rollout.target.spec
    patience_s = rollout.policy.start_deadline_s + rollout.policy.min_healthy_s

    def bad(instance: Instance) -> bool:
        phase = instance.phase
        if phase in SERVING or instance.goal is not Goal.RUN or instance.silent:
            return False
        if instance.outdated:
            return False  # it shall go, and says nothing about what comes in its place
        unseen = phase is None and not instance.admitted_once
        overdue = unseen and now - instance.since > patience_s
        return (overdue or phase is Phase.FAILED) and instance.spec == spec

    return [i for i in fleet.instances if bad(i)]


def failures_allowed(policy: Policy, fleet: Fleet) -> int:
    """How many instances may fail: "10%" of 6 is none, of 200 it is 20."""
    return count(policy.max_failures, limits_of(policy, fleet).desired, up=False)


def _old_fail_alike(rollout: Rollout, fleet: Fleet) -> bool:
    """At least half of what served before the rollout does not serve now."""
    old = [
        i
        for i in fleet.instances
        if i.spec != rollout.target.spec and i.goal is Goal.RUN and i.member and not i.silent
    ]
    return bool(old) and 2 * sum(i.phase not in SERVING for i in old) >= len(old)


def _failed(bad: list[Instance], may_fail: int, release: Release) -> str:
    first = bad[0]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    allowed = f" ({may_fail} may fail)" if may_fail else ""
    detail = f": {first.detail}" if first.detail else "."
    return f"{release.version} did not become ready on {first.name}{more}{allowed}{detail}"


def convergence(release: Release, fleet: Fleet, policy: Policy) -> Wait:
    """Why nothing can be done at this moment while instances are being replaced."""
    if waits := edges(fleet) or reach(fleet):
        return waits
    moving = next((w for i in fleet.instances if not i.silent and (w := _moving(i, release))), None)
    if moving is not None:
        return moving
    ours = (i for i in fleet.instances if i.spec == release.spec and i.goal is Goal.RUN)
    if untried := unproven(ours):
        return Wait(
            "edge_checks",
            f"The edges have not checked {untried.name} yet, the first of {untried.host}.",
            ("wait", "pause", "abort"),
        )
    bad = [i for i in fleet.instances if i.spec == release.spec and i.phase is Phase.FAILED]
    if bad and not any(h.silent for h in fleet.hosts):
        may_fail = failures_allowed(policy, fleet)
        return Wait(
            "instance_failed",
            f"{_failed(bad, may_fail, release)} Its agent goes on trying.",
            ("look at its log", "pause", "rollback", "abort"),
        )
    away = quarantined(policy, fleet)
    silent = [h for h in fleet.hosts if h.silent and h.name not in away]
    return _unheard(silent) if silent else environments(fleet) or _capacity(fleet, policy)


def _moving(instance: Instance, release: Release) -> Wait | None:
    if instance.goal is Goal.STOP:
        return Wait("stopping", f"{instance.name} is stopping.", ("wait",))
    if instance.goal is Goal.DRAIN:
        return Wait("draining", f"{instance.name} lets its streams end.", ("wait",))
    if instance.spec != release.spec or instance.goal is not Goal.RUN or instance.available:
        return None
    if instance.phase is Phase.FAILED:
        return None
    if instance.phase is Phase.READY:
        return Wait("min_healthy", f"{instance.name} is ready and must stay so.", ("wait",))
    detail = f" ({instance.detail})" if instance.detail else ""
    return Wait(
        "starting", f"{instance.name} is not ready yet{detail}.", ("wait", "pause", "abort")
    )


def _capacity(fleet: Fleet, policy: Policy) -> Wait:
    """Nothing moves although nothing is under way: too few instances are available to go on."""
    limits = limits_of(policy, fleet)
    down = [i.name for i in fleet.instances if i.member and not i.available]
    who = f"; {', '.join(down)} not ready" if down else ""
    return Wait(
        "capacity",
        f"{fleet.available} instances are available, {limits.min_available} must remain{who}.",
        ("repair the instances that are not ready", "pause", "rollback", "abort"),
    )
