"""The control plane: environments, releases, rollouts, goals, reports, routing, events.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

phase = "expand"

TABLES = (
    """
    CREATE TABLE schema_history (
        revision text PRIMARY KEY,
        phase text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        release text NOT NULL DEFAULT '',
        run_id text NOT NULL DEFAULT ''
    )""",
    """
    CREATE TABLE environments (
        name text PRIMARY KEY,
        hosts jsonb NOT NULL,
        edges jsonb NOT NULL,
        policy jsonb NOT NULL,
        version integer NOT NULL DEFAULT 1,
        current jsonb,
        previous jsonb,
        applied_by text NOT NULL DEFAULT '',
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    """
    CREATE TABLE leaders (
        environment text PRIMARY KEY REFERENCES environments (name) ON DELETE CASCADE,
        epoch bigint NOT NULL DEFAULT 0,
        holder text NOT NULL DEFAULT '',
        taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    """
    CREATE TABLE releases (
        version text PRIMARY KEY,
        digest text NOT NULL UNIQUE,
        release jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text NOT NULL DEFAULT ''
    )""",
    """
    CREATE TABLE rollouts (
        id text PRIMARY KEY,
        environment text NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
        rollout jsonb NOT NULL,
        kind text GENERATED ALWAYS AS (rollout ->> 'kind') STORED,
        state text GENERATED ALWAYS AS (rollout ->> 'state') STORED,
        version integer GENERATED ALWAYS AS ((rollout ->> 'version')::integer) STORED,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        CONSTRAINT rollouts_finished CHECK (
            (finished_at IS NOT NULL) = (rollout ->> 'state' IN
                ('succeeded', 'rolled_back', 'failed', 'aborted', 'superseded')))
    )""",
    """
    CREATE UNIQUE INDEX rollouts_one_active ON rollouts (environment)
        WHERE finished_at IS NULL""",
    "CREATE INDEX rollouts_by_time ON rollouts (environment, created_at)",
    """
    CREATE TABLE slots (
        environment text REFERENCES environments (name) ON DELETE CASCADE,
        host text,
        slot integer,
        goal jsonb NOT NULL,
        PRIMARY KEY (environment, host, slot)
    )""",
    """
    CREATE TABLE hosts (
        environment text REFERENCES environments (name) ON DELETE CASCADE,
        name text,
        desired_version bigint NOT NULL DEFAULT 0,
        images jsonb NOT NULL DEFAULT '[]',
        report jsonb,
        report_version bigint NOT NULL DEFAULT 0,
        seen_at timestamptz,
        PRIMARY KEY (environment, name)
    )""",
    """
    CREATE TABLE routing (
        environment text PRIMARY KEY REFERENCES environments (name) ON DELETE CASCADE,
        revision bigint NOT NULL DEFAULT 0,
        members jsonb NOT NULL DEFAULT '[]'
    )""",
    """
    CREATE TABLE jobs (
        id text PRIMARY KEY,
        environment text NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
        rollout text GENERATED ALWAYS AS (split_part(id, '/', 1)) STORED,
        host text GENERATED ALWAYS AS (job ->> 'host') STORED,
        state text GENERATED ALWAYS AS (job ->> 'state') STORED,
        job jsonb NOT NULL
    )""",
    "CREATE INDEX jobs_of_rollout ON jobs (environment, rollout)",
    """
    CREATE TABLE events (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        environment text NOT NULL,
        rollout text,
        kind text NOT NULL,
        message text NOT NULL,
        data jsonb,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        epoch bigint
    )""",
    "CREATE INDEX events_of_environment ON events (environment, id)",
    "CREATE INDEX events_of_rollout ON events (rollout, id)",
    """
    CREATE TABLE commands (
        idempotency_key text PRIMARY KEY,
        rollout text REFERENCES rollouts (id) ON DELETE CASCADE,
        kind text NOT NULL,
        actor text NOT NULL,
        reason text NOT NULL DEFAULT '',
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        request_hash text NOT NULL,
        outcome jsonb
    )""",
    "CREATE INDEX commands_of_rollout ON commands (rollout)",
    """
    CREATE TABLE operators (
        name text PRIMARY KEY,
        token_hash text NOT NULL UNIQUE,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        disabled boolean NOT NULL DEFAULT false
    )""",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "operators",
        "commands",
        "events",
        "jobs",
        "routing",
        "hosts",
        "slots",
        "rollouts",
        "releases",
        "leaders",
        "environments",
        "schema_history",
    ):
        op.execute(f"DROP TABLE {table}")
