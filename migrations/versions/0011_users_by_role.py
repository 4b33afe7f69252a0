"""Users by role: the last SYSTEM_ADMIN, and the list of one role.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

phase = "expand"

# People go on signing in while it is built. A build that was cut short leaves an index that
# PostgreSQL does not use, so the next try begins anew.
STATEMENTS = (
    "DROP INDEX CONCURRENTLY IF EXISTS ix_users_role",
    "CREATE INDEX CONCURRENTLY ix_users_role ON users (role)",
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for statement in STATEMENTS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_role")
