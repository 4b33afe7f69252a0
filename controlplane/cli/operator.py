"""`camp operator`: who may use the control API. It writes the database itself."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import rich_click as click

from controlplane.cli.common import json_option, print_json, run
from controlplane.domain.errors import Invalid
from controlplane.domain.policy import NAME
from controlplane.domain.tokens import token_hash, token_of


@click.group()
def operator() -> None:
    """Operators and their tokens.

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


async def _store(name: str, hashed: str) -> None:
    from camp.config.settings import load
    from camp.database.engine import build_engine
    from controlplane.adapters.postgres.ledger import PostgresLedger

    engine = build_engine(load(os.environ, Path.cwd(), serves=False))
    try:
        await PostgresLedger(engine).add_operator(name, hashed)
    finally:
        await engine.dispose()
