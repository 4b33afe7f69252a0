"""`camp rollout`: bringing an environment to a release, and back."""

from __future__ import annotations

import asyncio
import time

import rich_click as click

from controlplane.cli.common import (
    Connection,
    Finite,
    StoppedWatching,
    connected,
    day,
    exit_code,
    lasted,
    leave,
    run,
    said,
    stamp,
    table,
)
from controlplane.cli.watch import watch as watch_rollout
from controlplane.client import ControlClient
from controlplane.domain.model import MOST_INSTANCES, Kind
from controlplane.domain.naming import ROLLOUT_ID
from controlplane.wire import RolloutView, Why

DEFAULT_TIMEOUT_S = 3600.0

watching = click.option("--watch", "-w", is_flag=True, help="Stay until the rollout is over.")
superseding = click.option(
    "--supersede", is_flag=True, help="End the active rollout and take its place."
)
timeout = click.option(
    "--timeout",
    "timeout_s",
    default=DEFAULT_TIMEOUT_S,
    show_default=True,
    type=Finite(min=0, min_open=True),
    help="Seconds to watch; the rollout goes on after them.",
)
reason_option = click.option("--reason", callback=said, help="Why; kept in the log.")
subject = click.argument("rollout", metavar="ROLLOUT|ENVIRONMENT")


@click.group()
def rollout() -> None:
    """Rollouts. A watched one ends with 0 succeeded, 3 rolled back, 4 failed, 5 timed out.

    Where a rollout is named, an environment's name does as well: it means the active rollout
    there, or the latest.

    Example: camp rollout start production 1.1.0 --watch
    """


@rollout.command("start")
@click.argument("environment")
@click.argument("version")
@watching
@timeout
@superseding
@reason_option
@connected
def start(
    *,
    environment: str,
    version: str,
    watch: bool,
    timeout_s: float,
    supersede: bool,
    reason: str,
    connection: Connection,
) -> None:
    """Bring an environment to a release.

    Example: camp rollout start production 1.1.0 --watch --reason "ticket 4711"
    """

    async def work() -> RolloutView:
        async with connection.client() as client:
            begun = await client.start(environment, version, reason=reason, supersede=supersede)
            return await _finish(client, begun, connection, timeout_s if watch else None)

    _end(run(work()), connection, waited=watch)


@rollout.command("restart")
@click.argument("environment")
@watching
@timeout
@superseding
@reason_option
@connected
def restart(
    *,
    environment: str,
    watch: bool,
    timeout_s: float,
    supersede: bool,
    reason: str,
    connection: Connection,
) -> None:
    """Start every instance of the present release anew, a few at a time: changed secrets take hold.

    Example: camp rollout restart production --watch --reason "new database password"
    """

    async def work() -> RolloutView:
        async with connection.client() as client:
            begun = await client.start(
                environment, None, reason=reason, supersede=supersede, restart=True
            )
            return await _finish(client, begun, connection, timeout_s if watch else None)

    _end(run(work()), connection, waited=watch)


@rollout.command("scale")
@click.argument("environment")
@click.argument("instances", type=click.IntRange(1, MOST_INSTANCES))
@watching
@timeout
@reason_option
@connected
def scale(
    *,
    environment: str,
    instances: int,
    watch: bool,
    timeout_s: float,
    reason: str,
    connection: Connection,
) -> None:
    """Bring each host to so many instances of the present release.

    It changes instances_per_host of the environment's policy; write the number into your file, too,
    or the next camp env apply takes it back.

    Example: camp rollout scale production 3 --watch
    """

    async def work() -> RolloutView:
        async with connection.client() as client:
            begun = await client.start(environment, None, reason=reason, instances=instances)
            return await _finish(client, begun, connection, timeout_s if watch else None)

    _end(run(work()), connection, waited=watch)


@rollout.command("rollback")
@click.argument("subject", metavar="ENVIRONMENT|ROLLOUT")
@click.option("--to", "version", help="This release instead of the previous one.")
@click.option("--reason", required=True, callback=said, help="Why; kept in the log.")
@watching
@timeout
@connected
def rollback(
    *,
    subject: str,
    version: str | None,
    reason: str,
    watch: bool,
    timeout_s: float,
    connection: Connection,
) -> None:
    """Go back: an active rollout turns round, a finished one is undone by a new rollout.

    Example: camp rollout rollback production --to 1.0.0 --reason "errors at checkout" --watch
    """
    if version is not None and ROLLOUT_ID.fullmatch(subject):
        raise click.UsageError("--to goes with an environment: a rollout goes back to its source.")

    async def work() -> RolloutView:
        async with connection.client() as client:
            begun = await _back(client, subject, version, reason)
            return await _finish(client, begun, connection, timeout_s if watch else None)

    _end(run(work()), connection, waited=watch)


async def _back(
    client: ControlClient, subject: str, version: str | None, reason: str
) -> RolloutView:
    if ROLLOUT_ID.fullmatch(subject):
        return await client.steer(subject, "rollback", reason=reason)
    active = (await client.environment(subject)).active_rollout
    if active is not None and version is None:
        return await client.steer(active, "rollback", reason=reason)
    return await client.go_back(subject, version, reason=reason)


def _command(name: str, help_: str) -> click.Command:
    @click.command(name, help=f"{help_}\n\nExample: camp rollout {name} production")
    @subject
    @click.option("--expect", "version", type=int, help="Only if its row still has this version.")
    @reason_option
    @connected
    def command(rollout: str, version: int | None, reason: str, connection: Connection) -> None:
        async def work() -> RolloutView:
            async with connection.client() as client:
                meant = (await client.meant(rollout)).id
                return await client.steer(meant, name, reason=reason, expected_version=version)

        _end(run(work()), connection, waited=False)

    return command


for _name, _help in {
    "approve": "Let a rollout begin that waits for approval.",
    "pause": "Stop before the next batch; what runs stays.",
    "resume": "Go on after a pause.",
    "abort": "End a rollout where it stands; what runs stays.",
}.items():
    rollout.add_command(_command(_name, _help))


@rollout.command("list")
@click.option("--environment", "-e", help="Only this environment.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@connected
def list_(environment: str | None, limit: int, connection: Connection) -> None:
    """List the latest rollouts.

    Example: camp rollout list --environment production
    """

    async def work() -> list[RolloutView]:
        async with connection.client() as client:
            return await client.rollouts(environment, limit)

    found = run(work())
    head = ("ROLLOUT", "WHERE", "FROM", "TO", "STATE", "BEGAN", "TOOK", "BY, AND WHY")
    rows = [_row(one) for one in found]
    connection.show(found, lambda: table(head, rows))


@rollout.command("show")
@subject
@connected
def show(rollout: str, connection: Connection) -> None:
    """Show one rollout.

    Example: camp rollout show production --json
    """

    async def work() -> RolloutView:
        async with connection.client() as client:
            return await client.meant(rollout)

    found = run(work())
    connection.show(found, lambda: _card(found))


@rollout.command("watch")
@subject
@timeout
@connected
def watch(rollout: str, timeout_s: float, connection: Connection) -> None:
    """Watch a rollout until it is over.

    Example: camp rollout watch production --timeout 600
    """

    async def work() -> RolloutView:
        async with connection.client() as client:
            view = await client.meant(rollout)
            return await _finish(client, view, connection, timeout_s)

    _end(run(work()), connection, waited=True)


@rollout.command("why")
@subject
@connected
def why(rollout: str, connection: Connection) -> None:
    """Say why a rollout stands where it stands, and what may safely be done.

    Example: camp rollout why production
    """

    async def work() -> Why:
        async with connection.client() as client:
            return await client.why((await client.meant(rollout)).id)

    found = run(work())
    connection.show(found, lambda: _answer(found))


async def _finish(
    client: ControlClient, begun: RolloutView, connection: Connection, timeout_s: float | None
) -> RolloutView:
    if timeout_s is None:
        return begun
    try:
        return await watch_rollout(client, begun.id, timeout_s, quiet=connection.as_json)
    except asyncio.CancelledError as interrupt:
        raise StoppedWatching(
            f"Rollout {begun.id} goes on without you. "
            f"See it again: camp rollout watch {begun.environment}; "
            f"end it: camp rollout abort {begun.environment}."
        ) from interrupt


def _end(view: RolloutView, connection: Connection, *, waited: bool) -> None:
    cause = f": {view.cause}" if view.cause else ""
    summary = f"{view.id}  {view.environment} to {view.target.version}  {view.state}{cause}"
    connection.show(view, lambda: [summary])
    if waited:
        leave(exit_code(view.state))


def _answer(found: Why) -> list[str]:
    leader = f"{found.leader.holder}, epoch {found.leader.epoch}" if found.leader else "none"
    lines = [found.sentence, f"state     {found.state}", f"leader    {leader}"]
    if found.blocker:
        lines.append(f"blocker   {found.blocker.code}")
    if found.deadline_in_s:
        lines.append(f"deadline  in {found.deadline_in_s:.0f} s")
    return [*lines, f"possible  {', '.join(found.next_actions) or 'nothing'}"]


def _row(r: RolloutView) -> tuple[object, ...]:
    source = r.source and r.source.version
    kind = "rollback by " if r.kind is Kind.ROLLBACK else ""
    why = f"{kind}{r.created_by}" + (f": {r.reason}" if r.reason else "")
    began = day(r.created_at)
    return (r.id, r.environment, source, r.target.version, r.state, began, _took(r), why)


def _took(r: RolloutView) -> str:
    """Until it ended; an active one is at it for so long by this machine's clock."""
    end = time.time() if r.active else r.state_since
    return lasted(end - r.created_at) + ("…" if r.active else "")


def _card(r: RolloutView) -> list[str]:
    facts = [
        ("rollout", r.id),
        ("state", f"{r.state}{f' ({r.cause})' if r.cause else ''}"),
        ("kind", r.kind),
        ("from", r.source.version if r.source else "-"),
        ("to", f"{r.target.version}  {r.target.digest}"),
        ("by", f"{r.created_by} at {stamp(r.created_at)}"),
        ("reason", r.reason or "-"),
        ("since", stamp(r.state_since)),
        ("took", _took(r)),
        ("blocker", r.blocker.told if r.blocker else "-"),
        ("version", str(r.version)),
        ("possible", ", ".join(r.allowed) or "-"),
    ]
    return [f"{name:<10}{value}" for name, value in facts]
