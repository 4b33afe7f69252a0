"""What must hold before a rollout goes on. A gate is open, waits for one thing, or failed."""

from controlplane.domain.gates.before import preflight
from controlplane.domain.gates.held import images, missing_images, needed_images
from controlplane.domain.gates.hosts import environments, silence
from controlplane.domain.gates.meanwhile import convergence
from controlplane.domain.gates.oneshots import checks, migration
from controlplane.domain.gates.routes import edges, reach
from controlplane.domain.gates.succession import AGENT_REPLACED, agents, agents_begun
from controlplane.domain.gates.verdict import failed, failures_allowed, readiness
from controlplane.domain.gates.waits import Failure, Wait, blocker

__all__ = [
    "AGENT_REPLACED",
    "Failure",
    "Wait",
    "agents",
    "agents_begun",
    "blocker",
    "checks",
    "convergence",
    "edges",
    "environments",
    "failed",
    "failures_allowed",
    "images",
    "migration",
    "missing_images",
    "needed_images",
    "preflight",
    "reach",
    "readiness",
    "silence",
]
