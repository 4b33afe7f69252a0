"""`camp migrate`: schema changes, run once from the new release and never by an instance."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click

from controlplane.cli.common import json_option, print_json, run


@click.group()
def migrate() -> None:
    """The database's schema; DATABASE_URL says which database.

    Example: camp migrate status
    """


@migrate.command("upgrade")
@click.option("--to", default="head", show_default=True, help="Revision to end at.")
@click.option("--run-id", envvar="CAMP_RUN_ID", default="", help="Noted in schema_history.")
@json_option
def upgrade(to: str, run_id: str, as_json: bool) -> None:
    """Apply what is missing, each revision exactly once even if several run this together.

    Example: camp migrate upgrade --to 0002
    """
    from camp import __version__
    from controlplane.schema import runner

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    work = runner.upgrade(_database_url(), to, release=__version__, run_id=run_id, say=say)
    applied = run(work)
    if as_json:
        print_json({"applied": applied})


@migrate.command("status")
@json_option
def status(as_json: bool) -> None:
    """Say where the database is, where this release's schema is, and what is missing.

    Example: camp migrate status --json
    """
    from controlplane.schema import runner, scripts

    directory = scripts.scripts(scripts.packaged())
    current = run(runner.current(_database_url()))
    head = scripts.head(directory)
    newer = current is not None and not scripts.known(directory, current)
    steps = scripts.pending(directory, current, head)
    if as_json:
        print_json({"current": current, "head": head, "newer": newer, "pending": steps})
        return
    click.echo(f"database  {current or '(empty)'}")
    click.echo(f"release   {head}")
    if newer:
        click.echo("The database is newer than this release.")
    for step in steps:
        click.echo(f"pending   {step}")


def _database_url() -> str:
    from camp.config.settings import load

    return load(os.environ, Path.cwd(), serves=False).database_url
