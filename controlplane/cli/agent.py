"""`camp agent`: the program that runs on every host, and the unit that keeps it running."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from controlplane.cli.containers import Containers, runtime_options
from controlplane.cli.unit import Unit, rendered
from controlplane.domain.errors import Invalid

T = TypeVar("T")


def placing(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options that say which host an agent works for.

    They are asked for in `required`, not by click: it would ask `camp agent` for them before it
    looks at a command behind it.
    """

    @click.option("--environment", "-e", help="The environment the host belongs to. Required.")
    @click.option("--host", help="The host's name in that environment. Required.")
    @click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where releases, slots and the agent's memory are kept. Required.",
    )
    @click.option(
        "--address",
        default="127.0.0.1",
        show_default=True,
        help="The address at which the edges reach this host's instances.",
    )
    @wraps(command)
    def with_place(*args: Any, **options: Any) -> T:
        return command(*args, **options)

    return with_place


def required(context: click.Context) -> None:
    """Raises MissingParameter for the first of the options that was not given."""
    for parameter in context.command.params:
        wanted = parameter.name in ("environment", "host", "folder")
        if wanted and not context.params.get(parameter.name or ""):
            raise click.MissingParameter(ctx=context, param=parameter)


@click.group(invoke_without_command=True, cls=click.RichGroup)
@placing
@runtime_options
@click.pass_context
def agent(
    context: click.Context,
    /,
    *,
    environment: str,
    host: str,
    folder: Path,
    address: str,
    containers: Containers | None,
) -> None:
    """Run this host's instances, and lead the environment when it is this agent's turn.

    DATABASE_URL and REDIS_URL come from the settings of the service; containers get theirs from
    the file that --env-file names. A supervisor should start it again when it ends; for systemd,
    camp agent install-unit prints a unit.

    Example: camp agent --environment production --host host-a --folder /var/lib/camp
    """
    if context.invoked_subcommand is not None:
        return
    required(context)
    _work(environment, host, folder, address, containers)


def _work(
    environment: str, host: str, folder: Path, address: str, containers: Containers | None
) -> None:
    from camp import __version__
    from camp.config.settings import exported, load
    from camp.config.shared import shared
    from camp.observability.logs import configure
    from controlplane.wiring.agent import Assignment, run

    # Processes start with what we were told, containers with their own file.
    settings = load(os.environ, Path.cwd(), serves=containers is None)
    if settings.redis_url is None:
        raise Invalid("REDIS_URL is not set, and agents need Redis to elect a leader. Set it.")
    configure(settings.log_level, host)
    # Colours, locale and search paths of this process, then what the settings resolved to.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CAMP_")}
    token = settings.camp_agent_token or ""
    keep_out_of_git(folder)
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


def keep_out_of_git(folder: Path) -> None:
    """Make the folder, and tell git to pass it over: it may well lie in a checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="ascii")


@agent.command("install-unit")
@placing
@runtime_options
@click.option("--user", default="camp", show_default=True, help="Who the agent runs as.")
@click.option(
    "--variables",
    default="/etc/camp/agent.env",
    show_default=True,
    help="The file with DATABASE_URL, REDIS_URL and what else the settings need; mode 0600.",
)
@click.pass_context
def install_unit(
    context: click.Context,
    /,
    *,
    environment: str,
    host: str,
    folder: Path,
    address: str,
    containers: Containers | None,
    user: str,
    variables: str,
) -> None:
    """Print a systemd unit that keeps this host's agent running; nothing is installed by it.

    Stopping or restarting the unit leaves the instances running, as ending an agent always does.

    Example: camp agent install-unit -e production --host host-a --folder /var/lib/camp >
    /etc/systemd/system/camp-agent.service
    """
    required(context)
    options = ["--environment", environment, "--host", host, "--folder", str(folder.absolute())]
    options += ["--address", address]
    if containers is not None:
        options += containers.arguments()
    program = Path(sys.executable).with_name("camp")
    command = (str(program), "agent", *options)
    unit = Unit(command, environment, host, user, variables, docker=containers is not None)
    click.echo(rendered(unit), nl=False)
