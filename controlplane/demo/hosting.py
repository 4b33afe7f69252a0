"""How instances run on the demo's hosts; the story is the same for every way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from controlplane.demo.measure.sampler import Process
from controlplane.demo.stage import Servers
from controlplane.domain.model import Release
from controlplane.embedded.kept import Bridge


class Hosting(Protocol):
    """Processes or containers: what they are built from, where they run, how they are seen.

    `environment` is the name of the environment that they serve. The servers also listen on the
    `bridge`, if there is one. `containers` names the environment whose containers belong to the
    demo; it is empty when there are none. `user_token` signs a user in at its instances.
    """

    environment: str
    user_token: str
    bridge: Bridge | None
    containers: str

    async def prepare(self) -> None:
        """Raises DemoFailed when something is missing here; removes what a killed demo left."""
        ...

    async def releases(self, say: Callable[[str], None]) -> Sequence[Release]:
        """Build the releases and bring them to where agents fetch them. Raises ControlError."""
        ...

    def agent(self, servers: Servers) -> tuple[tuple[str, ...], dict[str, str]]:
        """What an agent is told besides its host: arguments and environment."""
        ...

    async def living(self) -> Sequence[Process]:
        """The instances whose processes live, seen without asking agents."""
        ...

    async def end(self) -> None:
        """Ask what the agents left running to end, and wait a while for it."""
        ...

    async def close(self) -> None:
        """Give up what only this object holds; called last, and once."""
        ...
