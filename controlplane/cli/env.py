"""`camp env`: what there is to deploy to, and by which rules."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from controlplane.cli.common import Connection, connected, run, stamp, table, typed
from controlplane.cli.env_diff import differences, hint
from controlplane.domain.errors import ControlError, Invalid
from controlplane.domain.follow import TagSeen
from controlplane.domain.policy import Draft, draft
from controlplane.wire import (
    EnvironmentApplied,
    EnvironmentDeleted,
    EnvironmentView,
    FollowView,
    PutEnvironment,
    TruthAccepted,
)

# For an answer that is only an addition.
BRIEFLY_S = 0.5


@click.group()
def env() -> None:
    """Environments: hosts, edges and the policy of their rollouts.

    Example: camp env apply environments.toml
    """


@env.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@connected
def apply(file: Path, dry_run: bool, connection: Connection) -> None:
    """Create or change the environments of a TOML file.

    The file holds [environments.NAME] tables, or one environment with a name of its own. What
    differs is listed. Nothing on any host moves by this: that is what rollouts are for.

    Example: camp env apply environments.toml --dry-run
    """
    tables = read(file)
    drafts = [draft(name, table_) for name, table_ in tables.items()]
    if dry_run:
        _rehearse(connection, drafts)
        return
    before, applied = run(_apply(connection, drafts, tables))
    connection.show(
        applied,
        lambda: [
            line
            for answer, d in zip(applied, drafts, strict=True)
            for line in _lines(answer, d, before.get(d.name))
        ],
    )


def _rehearse(connection: Connection, drafts: list[Draft]) -> None:
    """A file can be checked anywhere; what it would change is known where the control plane is."""

    async def work() -> dict[str, EnvironmentView]:
        async with connection.client(first_patience_s=BRIEFLY_S) as client:
            return {e.name: e for e in await client.environments()}

    try:
        there = run(work())
    except ControlError as error:
        shown = [msgspec.to_builtins(d) for d in drafts]
        connection.show(shown, lambda: [f"{d.name}: good; nothing was sent" for d in drafts])
        if not connection.as_json:
            click.echo(f"Not compared with what is there: {error.sentence}", err=True)
        return
    changes = {d.name: differences(there.get(d.name), d) for d in drafts}
    shown = [
        msgspec.to_builtins(d) | {"changes": [c.strip() for c in changes[d.name]]} for d in drafts
    ]
    connection.show(
        shown,
        lambda: [line for d in drafts for line in _would(d, there.get(d.name), changes[d.name])],
    )


def _would(d: Draft, before: EnvironmentView | None, changes: list[str]) -> list[str]:
    if before is None:
        return [f"{d.name}: would be created; nothing was sent"]
    if not changes:
        return [f"{d.name}: would not change; nothing was sent"]
    return [f"{d.name}: would change; nothing was sent", *changes]


@env.command("list")
@connected
def list_(connection: Connection) -> None:
    """List the environments.

    Example: camp env list --json
    """

    async def work() -> list[EnvironmentView]:
        async with connection.client() as client:
            return await client.environments()

    found = run(work())
    head = ("NAME", "VERSION", "HOSTS", "CURRENT", "PREVIOUS", "RUNS", "ROLLOUT")
    rows = [
        (
            e.name,
            e.version,
            len(e.hosts),
            e.current and e.current.version,
            e.previous and e.previous.version,
            runs(e),
            e.active_rollout,
        )
        for e in found
    ]
    connection.show(found, lambda: table(head, rows))


@env.command("show")
@click.argument("name")
@connected
def show(name: str, connection: Connection) -> None:
    """Show one environment with its policy.

    Example: camp env show production
    """

    async def work() -> EnvironmentView:
        async with connection.client() as client:
            return await client.environment(name)

    found = run(work())
    connection.show(found, lambda: _card(found))


@env.command("accept-truth")
@click.argument("name")
@click.option("--yes", metavar="NAME", help="The environment's name once more, to skip the prompt.")
@click.option("--reason", default="", help="Why; goes into the event log.")
@connected
def accept_truth(name: str, yes: str | None, reason: str, connection: Connection) -> None:
    """Go on after PostgreSQL went back in time (a restore, a failover that lost commits).

    Until then instances keep serving and nothing is decided. Things go on from what runs: hosts
    that report keep what they run, and what serves goes on serving. Rollouts and releases of after
    that moment are unknown.

    Example: camp env accept-truth production --yes production --reason "restored the 9:00 backup"
    """
    typed(
        name,
        yes,
        f"What PostgreSQL says of {name} now becomes the truth: rollouts and releases of after the"
        " moment it went back to are lost. What runs goes on running, and serving.",
    )

    async def work() -> TruthAccepted:
        async with connection.client() as client:
            return await client.accept_truth(name, name, reason)

    now = run(work())
    connection.show(
        now,
        lambda: [
            f"{name} goes on from epoch {now.epoch} and routing table {now.revision}.",
            f"A leader takes over within seconds; see: camp rollout list --environment {name}",
        ],
    )


def runs(found: EnvironmentView) -> str:
    """How many slots shall run which version; more than one version is said to be mixed."""
    text = ", ".join(f"{count} × {version}" for version, count in found.runs.items())
    return f"{text} (mixed)" if len(found.runs) > 1 else text


@env.command("delete")
@click.argument("name")
@click.option("--yes", metavar="NAME", help="The environment's name once more, to skip the prompt.")
@connected
def delete(name: str, yes: str | None, connection: Connection) -> None:
    """Delete an environment that runs nothing, and take it off its edges.

    Its hosts, rollouts and commands go; its events stay. Requests that it took get 404 from then
    on.

    Example: camp env delete staging --yes staging
    """
    typed(name, yes, f"{name} leaves its edges, and its hosts, rollouts and commands are deleted.")

    async def work() -> EnvironmentDeleted:
        async with connection.client() as client:
            return await client.delete_environment(name)

    deleted = run(work())
    connection.show(deleted, lambda: [f"{deleted.name} is deleted"])


def read(file: Path) -> dict[str, Mapping[str, Any]]:
    """The environments of a file by name. Raises Invalid, with the line where TOML breaks off."""
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"at line {max(1, len(text.splitlines()))}, the end"
        fault = str(error).replace("at end of document", end)
        raise Invalid(f"{file.name} is no valid TOML: {fault}. Correct it there.") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file.name} is not UTF-8 text; save it as UTF-8.") from error
    if "environments" not in document:
        return _single(file, document)
    others = [name for name in document if name != "environments"]
    tables = document["environments"]
    if others or not isinstance(tables, dict) or not tables:
        raise Invalid(
            f"{file.name}: beside [environments.NAME] tables nothing else belongs there"
            + (f"; move or remove {', '.join(others)}." if others else ".")
        )
    wrong = [name for name, value in tables.items() if not isinstance(value, dict)]
    if wrong:
        raise Invalid(
            f"{file.name}: environments.{wrong[0]} must be a table: [environments.{wrong[0]}]."
        )
    return tables


def _single(file: Path, document: dict[str, Any]) -> dict[str, Mapping[str, Any]]:
    name = document.pop("name", None)
    if not isinstance(name, str):
        raise Invalid(
            f"{file.name}: the environment has no name; write it as [environments.NAME], "
            'or add name = "..." at the top.'
        )
    return {name: document}


async def _apply(
    connection: Connection, drafts: list[Draft], tables: dict[str, Mapping[str, Any]]
) -> tuple[dict[str, EnvironmentView], list[EnvironmentApplied]]:
    """(what was there before, by name; what is there now)."""
    async with connection.client() as client:
        before = {e.name: e for e in await client.environments()}
        return before, [
            await client.apply(
                d.name,
                PutEnvironment(
                    hosts=list(d.hosts),
                    edges=list(d.edges),
                    policy=dict(tables[d.name].get("policy", {})),
                    follow=tables[d.name].get("follow"),
                    route=tables[d.name].get("route"),
                ),
            )
            for d in drafts
        ]


def _lines(answer: EnvironmentApplied, d: Draft, before: EnvironmentView | None) -> list[str]:
    name, version = answer.environment.name, answer.environment.version
    if not answer.changed:
        return [f"{name} has not changed; it is at version {version}"]
    return [
        f"{name} is now at version {version}",
        *differences(before, d),
        *answer.notes,
        hint(before, name),
    ]


def _card(found: EnvironmentView) -> list[str]:
    facts = [
        ("name", found.name),
        ("version", f"{found.version}, applied by {found.applied_by}"),
        ("hosts", ", ".join(found.hosts)),
        ("edges", ", ".join(found.edges)),
        ("route", str(found.route)),
        ("current", found.current.version if found.current else "-"),
        ("previous", found.previous.version if found.previous else "-"),
        ("runs", runs(found) or "-"),
        ("rollout", found.active_rollout or "-"),
    ]
    policy = msgspec.to_builtins(found.policy)
    return (
        [f"{name:<10}{value}" for name, value in facts]
        + [f"policy.{name:<22}{value}" for name, value in policy.items()]
        + _followed(found.follow)
    )


def _followed(follow: FollowView | None) -> list[str]:
    if follow is None:
        return []
    rule = msgspec.to_builtins(follow.rule)
    lines = [f"follow.{name:<22}{value}" for name, value in rule.items() if value != ""]
    looked = "never" if follow.last_look is None else stamp(follow.last_look)
    lines.append(f"{'looked':<10}{looked}")
    if follow.last_error:
        lines.append(f"{'error':<10}{follow.last_error}")
    head = ("TAG", "RELEASE", "DIGEST", "NOTE")
    rows = [(t.tag, t.version, t.digest[:19], _note(t)) for t in follow.tags]
    return lines + (table(head, rows) if rows else [])


def _note(seen: TagSeen) -> str:
    if seen.problem or not seen.version or seen.stays:
        return seen.problem
    return f"moved to {seen.points_to[:19]}, not followed"
