"""A demo that is kept: everything stays until Ctrl-C, and what ends by itself is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from controlplane.demo.site import Site
from controlplane.demo.stage import Program, Servers

LOOK_INTERVAL_S = 1.0


async def keep(site: Site, say: Callable[[str], None]) -> None:
    """For ever; each thing that ended is told once."""
    told: set[str] = set()
    while True:
        for sentence in gone(site.servers, site.agents):
            if sentence not in told:
                told.add(sentence)
                say(sentence)
        await asyncio.sleep(LOOK_INTERVAL_S)


def gone(servers: Servers, agents: Mapping[str, Program]) -> Iterator[str]:
    """What runs no more, and what that means."""
    for name, server, meaning in (
        ("PostgreSQL", servers.postgres, "no request that needs it is answered"),
        ("Redis", servers.redis, "instances serve on, and no rollout takes a step"),
        ("Traefik", servers.traefik, "nothing reaches the instances"),
    ):
        if not server.running:
            yield f"{name} has ended: {meaning}. Ctrl-C, and begin again."
    for host, agent in agents.items():
        if agent.code is not None:
            yield (
                f"The agent of {host} has ended with code {agent.code}; its instances serve on. "
                f"Its log: {agent.log}"
            )
