"""Files of projects.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

phase = "expand"

STATEMENTS = (
    """
    CREATE TABLE files (
        id uuid CONSTRAINT pk_files PRIMARY KEY,
        project_id uuid NOT NULL
            CONSTRAINT fk_files_project_id_projects REFERENCES projects (id) ON DELETE CASCADE,
        user_id uuid
            CONSTRAINT fk_files_user_id_users REFERENCES users (id) ON DELETE SET NULL,
        name text NOT NULL,
        media_type text NOT NULL,
        size bigint NOT NULL CONSTRAINT ck_files_size CHECK (size > 0),
        sha256 text NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )""",
    "CREATE INDEX ix_files_project_id_id ON files (project_id, id)",
    "CREATE INDEX ix_files_user_id ON files (user_id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE files")
