"""`camp host`: the machines and what their agents report."""

from __future__ import annotations

import rich_click as click

from controlplane.cli.common import Connection, connected, run, table
from controlplane.domain.errors import Invalid, NotFound
from controlplane.domain.reports import MAX_LOG_LINES
from controlplane.wire import HostView, InstanceView, LogView

INSTANCE_HEAD = (
    *("INSTANCE", "VERSION", "GOAL", "PHASE", "ADMITTED", "RESTARTS", "ADDRESS", "DETAIL"),
)


@click.group()
def host() -> None:
    """Hosts and the instances on them.

    Example: camp host list
    """


@host.command("list")
@click.option("--environment", "-e", help="Only this environment.")
@connected
def list_(environment: str | None, connection: Connection) -> None:
    """List the hosts.

    Example: camp host list --environment production
    """
    found = run(_hosts(connection, environment))
    head = ("ENVIRONMENT", "HOST", "AGENT", "LAST SEEN", "SETTLED", "INSTANCES")
    rows = [(h.environment, h.name, h.agent_version, _seen(h), *_counts(h)) for h in found]
    connection.show(found, lambda: table(head, rows))


@host.command("show")
@click.argument("name")
@click.option("--environment", "-e", help="Where a host belongs to several environments.")
@connected
def show(name: str, environment: str | None, connection: Connection) -> None:
    """Show one host and its instances.

    Example: camp host show host-a
    """
    found = [h for h in run(_hosts(connection, environment)) if h.name == name]
    if not found:
        raise NotFound(f"There is no host {name!r}; see camp host list.")
    shown: object = found[0] if len(found) == 1 else found
    connection.show(shown, lambda: [line for one in found for line in _card(one)])


@host.command("logs")
@click.argument("name", metavar="HOST")
@click.argument("slot", type=click.IntRange(min=1))
@click.option(
    "--lines",
    "-n",
    default=100,
    show_default=True,
    type=click.IntRange(1, MAX_LOG_LINES),
    help="How many of the last lines.",
)
@click.option("--environment", "-e", help="Where a host belongs to several environments.")
@connected
def logs(name: str, slot: int, lines: int, environment: str | None, connection: Connection) -> None:
    """Print what an instance wrote last, read by its host's agent now.

    Example: camp host logs host-a 1 --lines 200
    """
    found = run(_log(connection, environment, name, slot, lines))
    connection.show(found, lambda: found.lines)


async def _log(
    connection: Connection, environment: str | None, name: str, slot: int, lines: int
) -> LogView:
    async with connection.client() as client:
        places = {h.environment for h in await client.hosts(environment) if h.name == name}
        if not places:
            raise NotFound(f"There is no host {name!r}; see camp host list.")
        if len(places) > 1:
            known = ", ".join(sorted(places))
            raise Invalid(f"{name} is a host of {known}; name one with --environment.")
        return await client.logs(places.pop(), name, slot, lines)


async def _hosts(connection: Connection, environment: str | None) -> list[HostView]:
    async with connection.client() as client:
        return await client.hosts(environment)


def _seen(one: HostView) -> str:
    if one.silent_s is None:
        return "never"
    return f"{one.silent_s:.1f} s ago" + (" (silent)" if one.silent else "")


def _counts(one: HostView) -> tuple[str, str]:
    available = sum(i.available for i in one.instances)
    return "yes" if one.settled else "no", f"{available}/{len(one.instances)} available"


def _card(one: HostView) -> list[str]:
    lines = [
        f"{one.name} in {one.environment}: last seen {_seen(one)}, agent {one.agent_version or '-'}"
    ]
    lines += [f"  {one.runtime_error}"] if one.runtime_error else []
    if one.second_agent:
        lines.append(
            f"  agent {one.second_agent} claims this host too and is refused, because"
            f" {one.agent_id} has it: stop it, or give it another --host"
        )
    lines += [f"  has {image}" for image in one.images]
    lines += [f"  lacks {error}" for error in one.image_errors]
    lines += [
        f"  fetches {pull.digest}: {pull.here_bytes:,} of {pull.total_bytes:,} bytes"
        for pull in one.pulls
    ]
    if one.agent is not None and one.agent.detail:
        lines.append(f"  its agent was not replaced: {one.agent.detail}")
    if changed := [f"{i.host}/{i.slot}" for i in one.instances if i.environment_changed]:
        lines.append(
            f"  {', '.join(changed)} started with other variables than the host has now;"
            f" camp rollout restart {one.environment} brings them in"
        )
    return lines + table(INSTANCE_HEAD, [_row(i) for i in one.instances])


def _row(i: InstanceView) -> tuple[object, ...]:
    admitted = "yes" if i.admitted else "no"
    name = f"{i.host}/{i.slot}"
    return (name, i.version, i.goal, i.phase, admitted, i.restarts, i.address, i.detail)
