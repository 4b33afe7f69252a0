"""`camp agent`: the program that runs on every host."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click

from controlplane.cli.containers import Containers, runtime_options
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
@runtime_options
def agent(
    environment: str, host: str, folder: Path, address: str, containers: Containers | None
) -> None:
    """Run this host's instances, and lead the environment when it is this agent's turn.

    DATABASE_URL and REDIS_URL come from the settings of the service; containers get theirs from
    the file that --env-file names.

    Example: camp agent --environment production --host host-a --folder /var/lib/camp
    """
    from camp import __version__
    from camp.config.settings import exported, load
    from camp.config.shared import shared
    from camp.observability.logs import configure
    from controlplane.wiring.agent import Assignment, run

    settings = load(os.environ, Path.cwd())
    if settings.redis_url is None:
        raise Invalid("REDIS_URL is not set, and agents need Redis to elect a leader. Set it.")
    configure(settings.log_level, host)
    # Colours, locale and search paths of this process, then what the settings resolved to.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CAMP_")}
    token = settings.camp_agent_token or ""
    placement = None
    if containers is not None:
        placement = containers.placement(environment, host, address, folder, token)
    run(
        Assignment(
            environment=environment,
            host=host,
            address=address,
            folder=folder,
            database_url=settings.database_url,
            redis_url=settings.redis_url,
            token=token,
            instance_environ=environ | exported(settings),
            version=__version__,
            placement=placement,
            shared=shared(),
        )
    )
