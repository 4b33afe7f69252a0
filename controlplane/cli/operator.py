"""`camp operator`: who may use the control API.

`create` writes the database itself: without a first operator nobody could ask the API.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import rich_click as click

from controlplane.cli.common import (
    Connection,
    connected,
    json_option,
    print_json,
    run,
    said,
    stamp,
    table,
)
from controlplane.domain.errors import Invalid
from controlplane.domain.policy import NAME
from controlplane.domain.tokens import token_hash, token_of
from controlplane.wire import OperatorRevoked, OperatorView


@click.group()
def operator() -> None:
    """Operators and their tokens: who may use the control API.

    Example: camp operator create alice
    """


@operator.command("create")
@click.argument("name")
@json_option
def create(name: str, as_json: bool) -> None:
    """Make an operator and print the token, once; DATABASE_URL says where.

    Example: export CAMP_TOKEN=$(camp operator create alice)
    """
    if not NAME.fullmatch(name):
        raise Invalid(
            f"name: {name!r} is not a name; use up to 40 lower-case letters, digits and hyphens, "
            "a letter first."
        )
    token = token_of(secrets.token_bytes(32))
    run(_store(name, token_hash(token)))
    if as_json:
        print_json({"name": name, "token": token})
        return
    click.echo(f"{name} may now use the control API. This token is shown only once:", err=True)
    click.echo(token)


@operator.command("list")
@connected
def list_(connection: Connection) -> None:
    """List the operators; tokens are stored as hashes and never shown.

    Example: camp operator list
    """

    async def work() -> list[OperatorView]:
        async with connection.client() as client:
            return await client.operators()

    found = run(work())
    head = ("NAME", "SINCE", "REVOKED")
    rows = [(o.name, stamp(o.created_at), _revoked(o)) for o in found]
    connection.show(found, lambda: table(head, rows))


@operator.command("revoke")
@click.argument("name")
@click.option("--reason", callback=said, help="Why; kept in the log of commands.")
@connected
def revoke(name: str, reason: str, connection: Connection) -> None:
    """Make an operator's token worthless, within five seconds everywhere. The name stays taken.

    Example: camp operator revoke bob --reason "left the team"
    """

    async def work() -> OperatorRevoked:
        async with connection.client() as client:
            return await client.revoke_operator(name, reason)

    done = run(work())
    changed = "can use the control API no longer" if done.changed else "was revoked before"
    connection.show(done, lambda: [f"{name} {changed}"])


def _revoked(one: OperatorView) -> str:
    return "" if one.revoked_at is None else f"{stamp(one.revoked_at)} by {one.revoked_by}"


async def _store(name: str, hashed: str) -> None:
    from camp.config.settings import load
    from camp.database.engine import build_engine
    from controlplane.adapters.postgres.ledger import PostgresLedger

    engine = build_engine(load(os.environ, Path.cwd(), serves=False))
    try:
        await PostgresLedger(engine).add_operator(name, hashed)
    finally:
        await engine.dispose()
