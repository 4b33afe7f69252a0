"""`camp agent`: the program that runs on every host."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import rich_click as click

from controlplane.domain.errors import Invalid


@click.command()
@click.option("--environment", "-e", required=True, help="The environment the host belongs to.")
@click.option("--host", required=True, help="The host's name in that environment.")
@click.option(
    "--folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where releases, slots and the agent's memory are kept.",
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="The address at which the edges reach this host's instances.",
)
def agent(environment: str, host: str, folder: Path, address: str) -> None:
    """Run this host's instances, and lead the environment when it is this agent's turn.

    DATABASE_URL and REDIS_URL come from the settings of the service.

    Example: camp agent --environment production --host host-a --folder /var/lib/camp
    """
    from camp.settings import load
    from controlplane.agent.main import run

    settings = load(os.environ, Path.cwd())
    if settings.redis_url is None:
        raise Invalid("REDIS_URL is not set, and agents need Redis to elect a leader. Set it.")
    sys.exit(run(settings, environment=environment, host=host, folder=folder, address=address) or 0)
