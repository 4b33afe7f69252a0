"""The command line; each command is imported only when it is run."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from camp import __version__

if TYPE_CHECKING:
    from camp.config.settings import Settings

# Commands that live elsewhere: name -> "module:attribute" of a click command.
LAZY_COMMANDS: dict[str, str] = {
    "agent": "controlplane.cli.agent:agent",
    "completion": "controlplane.cli.completion:completion",
    "demo": "controlplane.cli.demo:demo",
    "env": "controlplane.cli.env:env",
    "events": "controlplane.cli.events:events",
    "files": "camp.files.commands:files",
    "host": "controlplane.cli.host:host",
    "logs": "controlplane.cli.logs:logs",
    "migrate": "controlplane.cli.migrate:migrate",
    "operator": "controlplane.cli.operator:operator",
    "release": "controlplane.cli.release:release",
    "rollout": "controlplane.cli.rollout:rollout",
    "smoke": "controlplane.cli.smoke:smoke",
    "status": "controlplane.cli.status:status",
}


class LazyGroup(click.RichGroup):
    """A group that imports the modules of LAZY_COMMANDS on first use: starts stay quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *LAZY_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = LAZY_COMMANDS.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever goes wrong leaves as a sentence and an exit code."""
        from controlplane.cli.boundary import boundary

        with boundary(ctx):
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="camp")
def main() -> None:
    """camp: a GenAI back office that carries out its own deployment.

    Example: camp serve --port 8000
    """
    if os.getpid() == 1:
        # The kernel drops what a container's first process has no handler for: until the
        # command sets its own, or if it never does, `docker stop` would wait its whole grace.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@main.command()
@click.option("--host", help="Address to listen on; over HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; over PORT, 0 picks one.")
def serve(host: str | None, port: int | None) -> None:
    """Run one instance of the service until SIGTERM.

    Example: ENVIRONMENT=local DATABASE_URL=postgresql://camp@127.0.0.1/camp camp serve
    """
    given = {"HOST": host, "PORT": None if port is None else str(port)}
    environ = os.environ | {name: value for name, value in given.items() if value is not None}
    settings = _settings(environ)
    # Collecting while thousands of lasting objects are made costs a fifth of the start.
    gc.disable()
    from camp.server import serve as run

    sys.exit(run(settings))


# Of its own class: a group made by another one would be lazy, too, and list the root's commands.
@main.group("settings", cls=click.RichGroup)
def settings_group() -> None:
    """Look at the configuration without starting anything.

    Example: camp settings check
    """


@settings_group.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print the faults as JSON.")
def check(as_json: bool) -> None:
    """Say what is wrong with the settings, if anything; exit code 1 then.

    Example: ENVIRONMENT=production camp settings check
    """
    if as_json:
        _check_as_json()
        return
    settings = _settings(dict(os.environ))
    click.echo(f"The settings for {settings.environment} are complete.")


def _check_as_json() -> None:
    import msgspec

    from camp.config.settings import load
    from camp.errors import SettingsError

    faults: list[str] = []
    try:
        load(os.environ, Path.cwd())
    except SettingsError as error:
        faults = error.faults
    click.echo(msgspec.json.encode({"complete": not faults, "faults": faults}))
    if faults:
        sys.exit(1)


@settings_group.command("show")
def show() -> None:
    """Print the settings in effect as JSON, secrets masked.

    Example: camp settings show
    """
    import msgspec

    from camp.config.settings import redacted

    shown = msgspec.json.encode(redacted(_settings(dict(os.environ))))
    click.echo(msgspec.json.format(shown))


def _settings(environ: dict[str, str]) -> Settings:
    from camp.config.settings import load
    from camp.errors import SettingsError

    try:
        return load(environ, Path.cwd())
    except SettingsError as error:
        for fault in error.faults:
            click.echo(f"Error: {fault}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
