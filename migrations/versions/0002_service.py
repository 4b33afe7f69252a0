"""The service: users, chats, messages.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

phase = "expand"

# Ids come from the service and sort by time, so (owner, id) serves "the newest first".
TABLES = (
    """
    CREATE TABLE users (
        id uuid CONSTRAINT pk_users PRIMARY KEY,
        subject text NOT NULL CONSTRAINT uq_users_subject UNIQUE,
        email text NOT NULL,
        display_name text NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )""",
    """
    CREATE TABLE chats (
        id uuid CONSTRAINT pk_chats PRIMARY KEY,
        user_id uuid NOT NULL
            CONSTRAINT fk_chats_user_id_users REFERENCES users (id) ON DELETE CASCADE,
        title text NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )""",
    "CREATE INDEX ix_chats_user_id_id ON chats (user_id, id)",
    """
    CREATE TABLE messages (
        id uuid CONSTRAINT pk_messages PRIMARY KEY,
        chat_id uuid NOT NULL
            CONSTRAINT fk_messages_chat_id_chats REFERENCES chats (id) ON DELETE CASCADE,
        role text NOT NULL
            CONSTRAINT ck_messages_role CHECK (role IN ('user', 'assistant')),
        content text NOT NULL,
        in_reply_to uuid
            CONSTRAINT fk_messages_in_reply_to_messages REFERENCES messages (id) ON DELETE CASCADE
            CONSTRAINT uq_messages_in_reply_to UNIQUE,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )""",
    "CREATE INDEX ix_messages_chat_id_id ON messages (chat_id, id)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in ("messages", "chats", "users"):
        op.execute(f"DROP TABLE {table}")
