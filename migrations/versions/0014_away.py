"""When somebody led last, and which hosts shall carry nothing or are behind.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE leaders ADD COLUMN led_at timestamptz")
    op.execute("ALTER TABLE hosts ADD COLUMN drained boolean NOT NULL DEFAULT false")
    op.execute("ALTER TABLE hosts ADD COLUMN behind boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE hosts DROP COLUMN behind")
    op.execute("ALTER TABLE hosts DROP COLUMN drained")
    op.execute("ALTER TABLE leaders DROP COLUMN led_at")
