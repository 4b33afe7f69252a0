"""Edges that do not confirm, and where an environment appears on its edges.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE routing ADD COLUMN lost_edges jsonb NOT NULL DEFAULT '[]'")
    op.execute("ALTER TABLE environments ADD COLUMN route jsonb NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    op.execute("ALTER TABLE environments DROP COLUMN route")
    op.execute("ALTER TABLE routing DROP COLUMN lost_edges")
