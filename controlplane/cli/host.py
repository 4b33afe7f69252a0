"""`camp host`: the machines and what their agents report."""

from __future__ import annotations

from typing import Literal

import rich_click as click

from controlplane.cli.common import Connection, connected, place, run, table, typed
from controlplane.client import ControlClient
from controlplane.domain.errors import Invalid, NotFound
from controlplane.domain.reports import MAX_LOG_LINES
from controlplane.wire import HostAnswer, HostView, InstanceView, LogView

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
    head = ("ENVIRONMENT", "HOST", "AGENT", "LAST SEEN", "SETTLED", "INSTANCES", "RUNS")
    rows = [(h.environment, h.name, h.agent_version, _seen(h), *_counts(h)) for h in found]
    connection.show(found, lambda: table(head, rows))


@host.command("show")
@click.argument("name", metavar="HOST")
@click.option("--environment", "-e", help="Where a host belongs to several environments.")
@connected
def show(name: str, environment: str | None, connection: Connection) -> None:
    """Show one host and its instances; an instance's name, such as host-a/1, means its host.

    Example: camp host show host-a
    """
    name = name.partition("/")[0]
    found = [h for h in run(_hosts(connection, environment)) if h.name == name]
    if not found:
        raise NotFound(f"There is no host {name!r}; see camp host list.")
    shown: object = found[0] if len(found) == 1 else found
    connection.show(shown, lambda: [line for one in found for line in _card(one)])


@host.command("logs")
@click.argument("name", metavar="HOST/SLOT")
@click.argument("slot", required=False, type=click.IntRange(min=1))
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
def logs(
    name: str, slot: int | None, lines: int, environment: str | None, connection: Connection
) -> None:
    """Print what an instance wrote last, read by its host's agent now; `HOST SLOT` does as well.

    All instances at once, and on and on: camp logs --follow ENVIRONMENT.

    Example: camp host logs host-a/1 --lines 200
    """
    if slot is None:
        name, slot = place(name)
    found = run(_log(connection, environment, name, slot, lines))
    connection.show(found, lambda: found.lines)


@host.command("drain")
@click.argument("name", metavar="HOST")
@click.option("--environment", "-e", help="Where a host belongs to several environments.")
@click.option("--reason", default="", help="Why; goes into the event log.")
@connected
def drain(name: str, environment: str | None, reason: str, connection: Connection) -> None:
    """Empty a host, for repair or for good: its instances leave as capacity allows.

    They are taken out of the edges, drained and stopped, and none is started there until
    `camp host release HOST`. The other hosts get no instances in their place.

    Example: camp host drain host-b --reason "new disk"
    """
    answer = run(_order(connection, environment, name, "drain", reason))
    done = "is being emptied" if answer.changed else "is drained already"
    connection.show(answer, lambda: [f"{name} {done}; see: camp host show {name}"])


@host.command("release")
@click.argument("name", metavar="HOST")
@click.option("--environment", "-e", help="Where a host belongs to several environments.")
@click.option("--reason", default="", help="Why; goes into the event log.")
@connected
def release(name: str, environment: str | None, reason: str, connection: Connection) -> None:
    """Let a drained host carry instances again.

    It catches up with what the environment runs by itself.

    Example: camp host release host-b
    """
    answer = run(_order(connection, environment, name, "release", reason))
    done = "carries instances again" if answer.changed else "was not drained"
    connection.show(answer, lambda: [f"{name} {done}; see: camp host show {name}"])


@host.command("forget")
@click.argument("name", metavar="HOST")
@click.option("--environment", "-e", help="Where a host belongs to several environments.")
@click.option("--yes", metavar="HOST", help="The host's name once more, to skip the prompt.")
@click.option("--reason", default="", help="Why; goes into the event log.")
@connected
def forget(
    name: str, environment: str | None, yes: str | None, reason: str, connection: Connection
) -> None:
    """Take a host that is gone for good out of its environment.

    Its slots, its addresses in the routing table and its reports are deleted. Refused while its
    agent speaks. Take it out of the file as well, or the next `camp env apply` adds it again.

    Example: camp host forget host-b --yes host-b --reason "the machine burnt"
    """
    typed(name, yes, f"All that is known of {name} is deleted, and its addresses leave the edges.")
    answer = run(_order(connection, environment, name, "forget", reason))
    connection.show(
        answer,
        lambda: [
            f"{name} is forgotten.",
            f"Take it out of the file of {answer.environment}, or camp env apply adds it again.",
        ],
    )


async def _order(
    connection: Connection,
    environment: str | None,
    name: str,
    order: Literal["drain", "release", "forget"],
    reason: str,
) -> HostAnswer:
    async with connection.client() as client:
        host = await _host(client, environment, name)
        return await client.order_host(host.environment, name, order, reason)


async def _host(client: ControlClient, environment: str | None, name: str) -> HostView:
    """The host of that name. Raises NotFound, and Invalid when there are several."""
    places = [h for h in await client.hosts(environment) if h.name == name]
    if not places:
        raise NotFound(f"There is no host {name!r}; see camp host list.")
    if len(places) > 1:
        known = ", ".join(sorted(h.environment for h in places))
        raise Invalid(f"{name} is a host of {known}; name one with --environment.")
    return places[0]


async def _log(
    connection: Connection, environment: str | None, name: str, slot: int, lines: int
) -> LogView:
    async with connection.client() as client:
        host = await _host(client, environment, name)
        found = await client.logs(host.environment, name, slot, lines)
    # What an ended instance wrote is kept, so it is only now that a slot may turn out unknown.
    if not found.lines and slot not in {i.slot for i in host.instances}:
        known = ", ".join(f"{name}/{i.slot}" for i in host.instances) or "none"
        raise NotFound(f"There is no instance {name}/{slot} and no log of it; {name} has {known}.")
    return found


async def _hosts(connection: Connection, environment: str | None) -> list[HostView]:
    async with connection.client() as client:
        return await client.hosts(environment)


def _seen(one: HostView) -> str:
    if one.silent_s is None:
        return "never"
    return f"{one.silent_s:.1f} s ago" + (" (silent)" if one.silent else "")


def _counts(one: HostView) -> tuple[str, str, str]:
    available = sum(i.available for i in one.instances)
    settled = "yes" if one.settled else "no"
    return settled, f"{available}/{len(one.instances)} available", _runs(one)


def _runs(one: HostView) -> str:
    """Each version that its instances are of; two of them stand out."""
    versions = sorted({i.version for i in one.instances})
    return ", ".join(versions) + (" (mixed)" if len(versions) > 1 else "")


def _card(one: HostView) -> list[str]:
    lines = [
        f"{one.name} in {one.environment}: last seen {_seen(one)}, agent {one.agent_version or '-'}"
    ]
    lines += [f"  {one.runtime_error}"] if one.runtime_error else []
    lines += ["  drained: it shall carry no instances"] if one.drained else []
    lines += ["  behind: it was away, and catches up when it is back"] if one.behind else []
    lines += [f"  its report cannot be read: {one.unread}"] if one.unread else []
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
