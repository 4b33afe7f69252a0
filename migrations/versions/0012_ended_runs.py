"""Runs that have ended, oldest first: they are kept for a while.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

phase = "expand"

# Runs go on being made while it is built. A build that was cut short leaves an index that
# PostgreSQL does not use, so the next try begins anew.
STATEMENTS = (
    "DROP INDEX CONCURRENTLY IF EXISTS ix_runs_ended",
    """
    CREATE INDEX CONCURRENTLY ix_runs_ended ON runs (updated_at)
    WHERE state IN ('succeeded', 'failed', 'cancelled')""",
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for statement in STATEMENTS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX ix_runs_ended")
