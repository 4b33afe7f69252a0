"""What may go in time: old events are found quickly, and a command outlives its rollout.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

phase = "expand"

# Events go on being written while the index is built. A build that was cut short leaves one that
# PostgreSQL does not use, so the next try begins anew.
STATEMENTS = (
    "ALTER TABLE commands DROP CONSTRAINT IF EXISTS commands_rollout_fkey",
    "DROP INDEX CONCURRENTLY IF EXISTS events_of_nobody",
    """
    CREATE INDEX CONCURRENTLY events_of_nobody ON events (environment, at)
    WHERE data ->> 'actor' IS NULL""",
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for statement in STATEMENTS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX events_of_nobody")
    # Commands whose rollouts are gone stay, so that not all of them can be checked.
    op.execute(
        "ALTER TABLE commands ADD CONSTRAINT commands_rollout_fkey FOREIGN KEY (rollout)"
        " REFERENCES rollouts (id) ON DELETE CASCADE NOT VALID"
    )
