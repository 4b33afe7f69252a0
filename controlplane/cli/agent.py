"""`camp agent`: the program that runs on every host."""

from __future__ import annotations

import os
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
@click.option(
    "--runtime",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Run instances as processes of this machine, or as containers of DOCKER_HOST's engine.",
)
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="docker: NAME=VALUE lines that containers start with; mode 0600.",
)
@click.option("--network", default="", help="docker: reach containers in this network.")
@click.option("--cpus", type=click.FloatRange(min=0.01), help="docker: CPUs of one container.")
@click.option("--memory", help="docker: memory of one container, such as 512m.")
def agent(
    *,
    environment: str,
    host: str,
    folder: Path,
    address: str,
    runtime: str,
    env_file: Path | None,
    network: str,
    cpus: float | None,
    memory: str | None,
) -> None:
    """Run this host's instances, and lead the environment when it is this agent's turn.

    DATABASE_URL and REDIS_URL come from the settings of the service; containers get theirs from
    the file that --env-file names.

    Example: camp agent --environment production --host host-a --folder /var/lib/camp
    """
    _check(runtime, env_file, containers_only=any((env_file, network, cpus, memory)))
    from camp import __version__
    from camp.logs import configure
    from camp.settings import exported, load
    from controlplane.adapters.docker_container import Placement, size_bytes
    from controlplane.adapters.file_memory import FileMemory
    from controlplane.agent.main import Assignment, run

    settings = load(os.environ, Path.cwd())
    if settings.redis_url is None:
        raise Invalid("REDIS_URL is not set, and agents need Redis to elect a leader. Set it.")
    configure(settings.log_level, host)
    # Colours, locale and search paths of this process, then what the settings resolved to.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CAMP_")}
    token = settings.camp_agent_token or ""
    placement = env_file and Placement(
        environment=environment,
        host=host,
        address=address,
        env_file=env_file.resolve(),
        environ={"CAMP_AGENT_TOKEN": token} if token else {},
        network=network,
        cpus=cpus,
        memory_bytes=size_bytes(memory) if memory else None,
        epoch=lambda: FileMemory(folder / "epoch").epoch(),
    )
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
        )
    )


def _check(runtime: str, env_file: Path | None, *, containers_only: bool) -> None:
    """Raises Invalid when the options do not fit each other."""
    if runtime == "docker" and env_file is None:
        raise Invalid(
            "With --runtime docker, --env-file must say what containers start with, such as"
            " DATABASE_URL and REDIS_URL as they reach them. Give a file of mode 0600."
        )
    if runtime == "process" and containers_only:
        raise Invalid(
            "--env-file, --network, --cpus and --memory are for containers."
            " Add --runtime docker or leave them out."
        )
