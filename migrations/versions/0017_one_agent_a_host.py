"""One agent a host: who holds it and who else claims it; the key that environments are hashed with.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE hosts ADD COLUMN holder text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE hosts ADD COLUMN rival jsonb")
    op.execute("ALTER TABLE leaders ADD COLUMN secret text NOT NULL DEFAULT ''")


def downgrade() -> None:
    op.execute("ALTER TABLE leaders DROP COLUMN secret")
    op.execute("ALTER TABLE hosts DROP COLUMN rival")
    op.execute("ALTER TABLE hosts DROP COLUMN holder")
