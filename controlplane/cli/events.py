"""`camp events`: what happened, and what happens."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime

import msgspec
import rich_click as click

from controlplane.cli.common import Connection, connected, run
from controlplane.wire import EventView


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with events as they happen.")
@click.option("--environment", "-e", help="Only this environment.")
@click.option("--rollout", "-r", help="Only this rollout.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@connected
def events(
    follow: bool, environment: str | None, rollout: str | None, limit: int, connection: Connection
) -> None:
    """Print the log; with --json one document a line.

    Example: camp events --follow --rollout r-20261123-142530-7f3a
    """

    async def work() -> None:
        async with connection.client() as client:
            past = await client.recent_events(environment, rollout, limit)
            for event in past:
                _print(event, connection.as_json)
            if not follow:
                return
            after = past[-1].id if past else 0
            async with aclosing(client.events(environment, rollout, after)) as coming:
                async for event in coming:
                    _print(event, connection.as_json)

    run(work())


def _print(event: EventView, as_json: bool) -> None:
    click.echo(msgspec.json.encode(event) if as_json else line(event))


def line(event: EventView) -> str:
    """One event for people, in the reader's own time zone."""
    at = datetime.fromtimestamp(event.at).astimezone()
    subject = event.rollout or event.environment
    return f"{at:%Y-%m-%d %H:%M:%S}  {subject}  {event.kind}  {event.message}"
