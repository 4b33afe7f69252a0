"""The one-shot runs of a rollout: its migration, and the checks of the service."""

from __future__ import annotations

from controlplane.domain.fleet import Fleet
from controlplane.domain.gates.waits import Failure, Wait
from controlplane.domain.goals import Job, JobState
from controlplane.domain.model import Kind, Rollout

SMOKE = "smoke"
# Once more, from another host if there is one: a single hiccup takes no release back.
SMOKE_TRIES = 2
# More than by hand: the hosts are at their busiest now.
SMOKE_LIMIT_S = 10


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
