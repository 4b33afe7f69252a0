"""`camp env`: what there is to deploy to, and by which rules."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from controlplane.cli.common import Connection, connected, run, stamp, table
from controlplane.domain.errors import Invalid
from controlplane.domain.follow import TagSeen
from controlplane.domain.policy import Draft, draft
from controlplane.wire import EnvironmentApplied, EnvironmentView, FollowView, PutEnvironment


@click.group()
def env() -> None:
    """Environments: hosts, edges and the policy of their rollouts.

    Example: camp env apply environments.toml
    """


@env.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the file and send nothing.")
@connected
def apply(file: Path, dry_run: bool, connection: Connection) -> None:
    """Create or change the environments of a TOML file.

    The file holds [environments.NAME] tables, or one environment with a name of its own.

    Example: camp env apply environments.toml --dry-run
    """
    tables = read(file)
    drafts = [draft(name, table_) for name, table_ in tables.items()]
    if dry_run:
        connection.show(drafts, lambda: [f"{d.name}: good; nothing was sent" for d in drafts])
        return
    applied = run(_apply(connection, drafts, tables))
    connection.show(applied, lambda: [line for answer in applied for line in _lines(answer)])


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
    head = ("NAME", "VERSION", "HOSTS", "CURRENT", "PREVIOUS", "ROLLOUT")
    rows = [
        (
            e.name,
            e.version,
            len(e.hosts),
            e.current and e.current.version,
            e.previous and e.previous.version,
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
) -> list[EnvironmentApplied]:
    async with connection.client() as client:
        return [
            await client.apply(
                d.name,
                PutEnvironment(
                    hosts=list(d.hosts),
                    edges=list(d.edges),
                    policy=dict(tables[d.name].get("policy", {})),
                    follow=tables[d.name].get("follow"),
                ),
            )
            for d in drafts
        ]


def _lines(answer: EnvironmentApplied) -> list[str]:
    environment = answer.environment
    verb = "is now at" if answer.changed else "has not changed; it is at"
    return [f"{environment.name} {verb} version {environment.version}", *answer.notes]


def _card(found: EnvironmentView) -> list[str]:
    facts = [
        ("name", found.name),
        ("version", f"{found.version}, applied by {found.applied_by}"),
        ("hosts", ", ".join(found.hosts)),
        ("edges", ", ".join(found.edges)),
        ("current", found.current.version if found.current else "-"),
        ("previous", found.previous.version if found.previous else "-"),
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
