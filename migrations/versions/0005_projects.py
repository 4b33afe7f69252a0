"""Projects and their members.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

phase = "expand"

TABLES = (
    """
    CREATE TABLE projects (
        id uuid CONSTRAINT pk_projects PRIMARY KEY,
        name text NOT NULL,
        description text NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )""",
    """
    CREATE TABLE project_members (
        id uuid CONSTRAINT pk_project_members PRIMARY KEY,
        project_id uuid NOT NULL CONSTRAINT fk_project_members_project_id_projects
            REFERENCES projects (id) ON DELETE CASCADE,
        user_id uuid NOT NULL CONSTRAINT fk_project_members_user_id_users
            REFERENCES users (id) ON DELETE CASCADE,
        role text NOT NULL CONSTRAINT ck_project_members_role
            CHECK (role IN ('PROJECT_MANAGER', 'MODERATOR', 'MEMBER', 'VIEWER')),
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT uq_project_members_project_id UNIQUE (project_id, user_id)
    )""",
    "CREATE INDEX ix_project_members_user_id_project_id ON project_members (user_id, project_id)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in ("project_members", "projects"):
        op.execute(f"DROP TABLE {table}")
