"""Runs: background work, leased by the instances.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

phase = "expand"

TABLES = (
    """
    CREATE TABLE runs (
        id uuid CONSTRAINT pk_runs PRIMARY KEY,
        user_id uuid NOT NULL CONSTRAINT fk_runs_user_id_users
            REFERENCES users (id) ON DELETE CASCADE,
        kind text NOT NULL,
        input jsonb NOT NULL,
        idempotency_key text,
        state text NOT NULL CONSTRAINT ck_runs_state
            CHECK (state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled')),
        attempt integer NOT NULL,
        attempts_max integer NOT NULL,
        fence integer NOT NULL,
        holder text,
        due_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        steps_done integer NOT NULL,
        steps_total integer,
        checkpoint jsonb,
        result jsonb,
        error jsonb,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT uq_runs_user_id UNIQUE (user_id, idempotency_key)
    )""",
    "CREATE INDEX ix_runs_user_id_id ON runs (user_id, id)",
    "CREATE INDEX ix_runs_due_at ON runs (due_at) WHERE state IN ('waiting', 'running')",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE runs")
