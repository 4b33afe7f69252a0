"""Migrations on a real PostgreSQL: exactly once, all or nothing per revision, never backwards."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from controlplane.adapters.postgres import tables
from controlplane.domain.errors import Conflict, Invalid, StoreUnavailable
from controlplane.schema import runner, scripts
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
DIRECTORY = scripts.scripts(scripts.packaged())
HEAD = scripts.head(DIRECTORY)
ALL = [step.revision for step in scripts.pending(DIRECTORY, None, HEAD)]

# A second revision for histories made by a test; `{}` takes what its upgrade does.
SECOND = '''"""Second."""
from alembic import op
revision = "second"
down_revision = "0001"
phase = "expand"
def upgrade() -> None:
    {}
'''


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(sql)]


def quiet(_: str) -> None:
    """Say nothing."""


def history(folder: Path, second: str) -> Path:
    """A copy of the first revision with one more after it."""
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", "script.py.mako", "versions/0001_control_plane.py"):
        shutil.copy(scripts.packaged() / name, folder / name)
    (folder / "versions" / "second_thing.py").write_text(SECOND.format(second))
    return folder


async def camp_migrate(url: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `camp migrate …` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "camp", "migrate", *arguments),
        env=os.environ | {"DATABASE_URL": url, "ENVIRONMENT": "local"},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def test_three_migrators_at_once_all_succeed_and_each_revision_runs_once(
    database_url: str,
) -> None:
    ended = await asyncio.gather(
        *(camp_migrate(database_url, "upgrade", "--json", "--run-id", f"m{i}") for i in range(3))
    )

    assert [code for code, _, _ in ended] == [0, 0, 0], ended
    applied = [json.loads(out)["applied"] for _, out, _ in ended]
    assert sorted(applied) == [[], [], ALL]
    winner = f"m{applied.index(ALL)}"
    recorded = "SELECT revision, run_id FROM schema_history ORDER BY revision"
    assert await rows(database_url, recorded) == [(revision, winner) for revision in ALL]


async def test_each_step_is_recorded_with_its_phase_release_and_run(database_url: str) -> None:
    said: list[str] = []

    await runner.upgrade(database_url, "0001", release="1.2.3", run_id="r-1/1", say=said.append)

    recorded = "SELECT revision, phase, release, run_id FROM schema_history"
    assert await rows(database_url, recorded) == [("0001", "expand", "1.2.3", "r-1/1")]
    assert said == ["applying 0001 control_plane (expand)"]
    assert await runner.current(database_url) == "0001"


async def test_status_names_what_is_missing_with_its_phase(database_url: str) -> None:
    await runner.upgrade(database_url, "0001", say=quiet)

    code, out, _ = await camp_migrate(database_url, "status", "--json")

    assert code == 0
    status = json.loads(out)
    assert (status["current"], status["head"]) == ("0001", HEAD)
    assert status["pending"][0] == {"revision": "0002", "name": "service", "phase": "expand"}


async def test_the_tables_in_code_are_those_that_the_migrations_make(
    migrated_database_url: str,
) -> None:
    def differences(connection: Connection) -> Any:
        ours = tables.metadata.tables
        options = {
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or name in ours,
        }
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, tables.metadata)

    engine = create_async_engine(migrated_database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_going_down_and_up_again_leaves_the_same_schema(database_url: str) -> None:
    def down(connection: Connection) -> None:
        settings = scripts.config(scripts.packaged())
        settings.attributes["connection"] = connection
        command.downgrade(settings, "base")

    await runner.upgrade(database_url, say=quiet)
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        await connection.run_sync(down)
        await connection.commit()
    await engine.dispose()

    left = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
    assert await rows(database_url, left) == [("alembic_version",)]
    assert await runner.upgrade(database_url, say=quiet) == ALL


def test_rendered_sql_records_the_history_too() -> None:
    buffer = io.StringIO()
    settings = scripts.config(scripts.packaged())
    settings.output_buffer = buffer

    command.upgrade(settings, "head", sql=True)

    for revision in ALL:
        assert (
            f"INSERT INTO schema_history (revision, phase, release, run_id) VALUES ('{revision}'"
            in buffer.getvalue()
        )


async def test_an_unknown_revision_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(Invalid, match="no revision 4711"):
        await runner.upgrade("postgresql://nobody@127.0.0.1:1/nothing", "4711", say=quiet)


async def test_a_database_newer_than_the_release_is_left_alone(database_url: str) -> None:
    await runner.upgrade(database_url, "0001", say=quiet)
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Conflict, match="newer"):
        await runner.upgrade(database_url, say=quiet)
    code, _, errors = await camp_migrate(database_url, "upgrade")

    assert code == 1
    assert "9999" in errors
    assert "Traceback" not in errors
    assert await runner.current(database_url) == "9999"


async def test_a_server_that_is_not_there_is_a_sentence_that_names_the_setting() -> None:
    with pytest.raises(StoreUnavailable, match="DATABASE_URL"):
        await runner.upgrade("postgresql://nobody@127.0.0.1:1/nothing", say=quiet)


async def test_a_migrator_waits_for_another_one_and_goes_on_when_that_one_dies(
    database_url: str,
) -> None:
    said: list[str] = []
    async with connected(database_url) as other:
        await other.execute(f"SELECT pg_advisory_lock({runner.MIGRATION_LOCK})")
        work = asyncio.create_task(runner.upgrade(database_url, say=said.append))
        assert await eventually(lambda: said)
        assert not work.done()

    assert await work == ALL
    assert said[0] == "waiting for another migration to finish"


async def test_the_wait_for_another_migrator_has_an_end(database_url: str) -> None:
    async with connected(database_url) as other:
        await other.execute(f"SELECT pg_advisory_lock({runner.MIGRATION_LOCK})")
        with pytest.raises(runner.MigrationBusy, match="run this again"):
            await runner.upgrade(database_url, say=quiet, wait_s=0.3)


async def test_a_refused_revision_is_taken_back_whole_and_those_before_it_stay(
    database_url: str, tmp_path: Path
) -> None:
    folder = history(
        tmp_path / "m",
        'op.execute("CREATE TABLE half (id int)"); op.execute("SELECT 1 / 0")',
    )

    with pytest.raises(runner.MigrationFailed, match="division by zero"):
        await runner.upgrade(database_url, say=quiet, folder=folder)

    assert await rows(database_url, "SELECT revision FROM schema_history") == [("0001",)]
    assert await rows(database_url, "SELECT to_regclass('half')::text") == [(None,)]
    assert await runner.current(database_url) == "0001"


async def test_a_revision_that_finds_its_table_in_use_is_tried_again(
    database_url: str, tmp_path: Path
) -> None:
    folder = history(tmp_path / "m", 'op.execute("ALTER TABLE releases ADD COLUMN note text")')
    await runner.upgrade(database_url, "0001", say=quiet, folder=folder)
    said: list[str] = []
    async with connected(database_url) as reader:
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute("SELECT * FROM releases")
        work = asyncio.create_task(runner.upgrade(database_url, say=said.append, folder=folder))
        assert await eventually(lambda: any("Trying again" in line for line in said))
        await transaction.rollback()

    assert await work == ["second"]


async def test_three_migrators_build_an_index_concurrently_without_a_deadlock(
    database_url: str, tmp_path: Path
) -> None:
    folder = history(
        tmp_path / "m",
        "with op.get_context().autocommit_block():\n"
        '        op.execute("CREATE INDEX CONCURRENTLY by_author ON releases (created_by)")',
    )

    ended = await asyncio.gather(
        *(runner.upgrade(database_url, say=quiet, folder=folder) for _ in range(3))
    )

    assert sorted(ended) == [[], [], ["0001", "second"]]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_author'::regclass"
    assert await rows(database_url, valid) == [(True,)]


def test_a_revision_without_a_phase_is_refused(tmp_path: Path) -> None:
    folder = history(tmp_path / "m", "pass")
    file = folder / "versions" / "second_thing.py"
    file.write_text(file.read_text().replace('phase = "expand"', ""))

    with pytest.raises(Invalid, match="phase"):
        scripts.pending(scripts.scripts(folder), None, "head")


def test_a_forked_history_is_refused_with_both_names(tmp_path: Path) -> None:
    folder = history(tmp_path / "m", "pass")
    file = folder / "versions" / "second_thing.py"
    (folder / "versions" / "third.py").write_text(file.read_text().replace('"second"', '"third"'))

    with pytest.raises(Invalid, match=r"(second, third|third, second)"):
        scripts.head(scripts.scripts(folder))


async def test_index_build_that_was_cut_short_begins_anew(database_url: str) -> None:
    await runner.upgrade(database_url, "0010", say=quiet)
    async with connected(database_url) as connection:
        for name in ("ada", "grace"):
            await connection.execute(
                "INSERT INTO users (id, subject, email, display_name, created_at, updated_at)"
                " VALUES (gen_random_uuid(), $1, '', $1, now(), now())",
                name,
            )
        # What stays behind when a build ends in the middle: an index that serves nobody.
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY ix_users_role ON users (role)"
            )
    state = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_users_role'::regclass"
    assert await rows(database_url, state) == [(False,)]

    await runner.upgrade(database_url, say=quiet)

    assert await rows(database_url, state) == [(True,)]
