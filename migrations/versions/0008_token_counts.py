"""Answers count their tokens.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

phase = "expand"

COLUMNS = ("prompt_tokens", "completion_tokens")


def upgrade() -> None:
    for column in COLUMNS:
        op.execute(f"ALTER TABLE messages ADD COLUMN {column} integer")


def downgrade() -> None:
    for column in COLUMNS:
        op.execute(f"ALTER TABLE messages DROP COLUMN {column}")
