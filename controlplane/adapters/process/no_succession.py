"""The succession of agents that nothing here can replace."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.goals import AgentGoal
from controlplane.ports.succession import Stage, Successor

NO_CONTAINER = (
    "it does not run as a container, so it is its supervisor's to replace."
    " Run it as one, or set update_agents = false."
)


@dataclass(frozen=True, slots=True)
class NoSuccession:
    """Agents whose runtime cannot replace them."""

    digest: str = ""
    obstacle: str = NO_CONTAINER

    async def begin(self, goal: AgentGoal) -> None:
        """Never asked for: the obstacle is in every report."""

    async def look(self, goal: AgentGoal) -> Successor:  # noqa: ARG002 - the port's
        return Successor(Stage.FAILED, self.obstacle)

    async def clear(self) -> None:
        """There is no successor."""

    async def announce(self) -> bool:
        return False

    async def finish(self) -> None:
        """There is no predecessor."""
