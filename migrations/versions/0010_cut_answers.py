"""Answers of models: which model said them, and whether they are whole.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN model text")
    op.execute("ALTER TABLE messages ADD COLUMN cut boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    for column in ("model", "cut"):
        op.execute(f"ALTER TABLE messages DROP COLUMN {column}")
