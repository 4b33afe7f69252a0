"""`camp files`: what is done with the storage from outside."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from camp.files.sweep import Swept


@click.group()
def files() -> None:
    """Look after the storage of files.

    Example: camp files sweep --dry-run
    """


@files.command("sweep")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option(
    "--older-than-h",
    type=click.FloatRange(1, 24 * 365),
    default=24,
    show_default=True,
    help="Spare what was written in the last hours: uploads may be under way.",
)
@click.option(
    "--deadline-s",
    type=click.FloatRange(1, 86_400),
    default=600,
    show_default=True,
    help="Stop after so many seconds; the next run goes on.",
)
@click.option("--force", is_flag=True, help="Delete even if more than half of it are orphans.")
@click.option(
    "--claim",
    is_flag=True,
    help="The storage belongs to this database now, whatever the object in it says.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sweep_command(
    *,
    dry_run: bool,
    older_than_h: float,
    deadline_s: float,
    force: bool,
    claim: bool,
    as_json: bool,
) -> None:
    """Delete content that no file refers to: of deleted projects, and of uploads that died.

    Example: camp files sweep --dry-run --older-than-h 48
    """
    import msgspec

    before = datetime.now(UTC) - timedelta(hours=older_than_h)
    swept = asyncio.run(_sweep(before, deadline_s, dry_run, force, claim))
    if as_json:
        click.echo(msgspec.json.encode(swept).decode())
    else:
        _tell(swept, dry_run)
    if swept.refused and not dry_run:
        raise click.ClickException(swept.refused)


def _tell(swept: Swept, dry_run: bool) -> None:
    for key in swept.orphans:
        click.echo(key)
    verb = "would be deleted" if dry_run else "orphans"
    click.echo(f"{swept.examined} objects, {len(swept.orphans)} {verb}, {swept.deleted} deleted.")
    if dry_run and swept.refused:
        click.echo(f"Without --dry-run this is refused: {swept.refused}", err=True)
    if not swept.finished:
        click.echo("The deadline came first. Run this again to go on.", err=True)


async def _sweep(
    before: datetime, deadline_s: float, dry_run: bool, force: bool, claim: bool
) -> Swept:
    from rich.console import Console

    from camp.config.settings import load
    from camp.database.engine import build_engine, build_sessions
    from camp.errors import StorageUnavailable
    from camp.files.owner import this_database
    from camp.files.storage import ObjectStorage
    from camp.files.sweep import Permission, sweep

    settings = load(dict(os.environ), Path.cwd(), serves=False)
    engine = build_engine(settings)
    storage = ObjectStorage(settings.storage_url, settings.storage_options)
    try:
        sessions = build_sessions(engine)
        owner = await this_database(sessions, settings.environment)
        with Console(stderr=True).status("Looking at the first objects…") as shown:
            return await sweep(
                sessions,
                storage,
                Permission(owner, force, claim),
                before=before,
                deadline_s=deadline_s,
                dry_run=dry_run,
                told=lambda examined: shown.update(f"{examined} objects looked at…"),
            )
    except StorageUnavailable as error:
        cause = error.__cause__ or error
        raise click.ClickException(
            f"The storage cannot be used: {str(cause).splitlines()[0]}."
            " Correct STORAGE_URL and STORAGE_OPTIONS, or run this again later."
        ) from error
    finally:
        await engine.dispose()
