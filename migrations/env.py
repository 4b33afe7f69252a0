"""Runs revisions on the connection it is given, or renders them as SQL without one.

`config.attributes` carries what the runner knows: `connection` (a synchronous SQLAlchemy
connection; absent: offline), `release`, `run_id`, `metadata` (for comparisons only).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script

HISTORY = sa.table(
    "schema_history",
    sa.column("revision", sa.Text),
    sa.column("phase", sa.Text),
    sa.column("release", sa.Text),
    sa.column("run_id", sa.Text),
)

attributes = context.config.attributes


def record(*, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
    """Note a step in schema_history, in the step's own transaction.

    The first revision makes that table, so taking it back leaves nothing to note in.
    """
    revision = step.up_revision
    assert isinstance(revision, Script)
    if step.is_upgrade:
        ctx.execute(
            HISTORY.insert().values(
                revision=revision.revision,
                phase=revision.module.phase,
                release=attributes.get("release", ""),
                run_id=attributes.get("run_id", ""),
            )
        )
    elif revision.down_revision is not None:
        ctx.execute(HISTORY.delete().where(HISTORY.c.revision == revision.revision))


def run() -> None:
    shared: dict[str, Any] = {
        "target_metadata": attributes.get("metadata"),
        "on_version_apply": record,
        "transaction_per_migration": True,
    }
    connection = attributes.get("connection")
    if connection is None:
        context.configure(dialect_name="postgresql", literal_binds=True, **shared)
    else:
        context.configure(connection=connection, **shared)
    with context.begin_transaction():
        context.run_migrations()


run()
