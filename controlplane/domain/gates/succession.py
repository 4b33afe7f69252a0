"""Replacing the agents once the service holds."""

from __future__ import annotations

from controlplane.domain.actions import ReplaceAgent
from controlplane.domain.fleet import Fleet, Host
from controlplane.domain.gates.waits import Failure, Wait
from controlplane.domain.goals import AgentGoal
from controlplane.domain.model import Rollout

AGENT_REPLACED = "agent_replaced"


def obstacle(host: Host) -> str:
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
