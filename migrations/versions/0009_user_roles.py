"""Roles of users.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

phase = "expand"

# The defaults serve instances of the release before, which insert without these columns. They are
# constants, so no row is rewritten, and every row that is there has a role that the check allows:
# it need not read the table under the lock to find that out.
STATEMENTS = (
    """
    ALTER TABLE users
        ADD COLUMN role text NOT NULL DEFAULT 'USER',
        ADD COLUMN role_from_token boolean NOT NULL DEFAULT false""",
    """
    ALTER TABLE users
        ADD CONSTRAINT ck_users_role CHECK (role IN ('SYSTEM_ADMIN', 'USER')) NOT VALID""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN role, DROP COLUMN role_from_token")
