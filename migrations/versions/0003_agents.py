"""Which release each host's agent shall run, and which protocol the leader speaks.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE hosts ADD COLUMN agent jsonb")
    op.execute("ALTER TABLE leaders ADD COLUMN protocol integer NOT NULL DEFAULT 1")


def downgrade() -> None:
    op.execute("ALTER TABLE leaders DROP COLUMN protocol")
    op.execute("ALTER TABLE hosts DROP COLUMN agent")
