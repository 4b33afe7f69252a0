"""Answers under way: until when they count as still being said.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN said_until timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE messages DROP COLUMN said_until")
