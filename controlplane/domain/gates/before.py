"""What must hold before anything is changed."""

from __future__ import annotations

from controlplane.domain.fleet import Fleet
from controlplane.domain.gates.held import images
from controlplane.domain.gates.hosts import claims, environments, silence
from controlplane.domain.gates.routes import edges
from controlplane.domain.gates.succession import obstacle
from controlplane.domain.gates.waits import Failure, Wait
from controlplane.domain.model import Rollout


def preflight(rollout: Rollout, fleet: Fleet) -> Wait | Failure | None:
    """Hosts speak, edges answer, and the bytes of both releases are on every host."""
    for host in fleet.hosts:
        for image in host.image_errors:
            if image.permanent and image.digest == rollout.target.digest:
                return Failure(f"{host.name} cannot use {rollout.target.version}: {image.error}")
        if rollout.policy.update_agents and (reason := obstacle(host)):
            return Failure(f"The agent of {host.name} cannot be replaced: {reason}")
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
