"""What environments follow, and what was seen of it.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("""
    CREATE TABLE follows (
        environment text PRIMARY KEY REFERENCES environments (name) ON DELETE CASCADE,
        rule jsonb NOT NULL,
        followed jsonb NOT NULL DEFAULT '{}',
        version integer NOT NULL DEFAULT 1
    )""")


def downgrade() -> None:
    op.execute("DROP TABLE follows")
