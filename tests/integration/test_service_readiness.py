"""When an instance says that it can take traffic."""

from __future__ import annotations

import asyncio

import httpx

from camp.ops.schema import packaged_history
from controlplane.embedded.servers import PostgresServer, RedisServer
from tests.service import client_of, settings
from tests.waiting import eventually


async def reason(client: httpx.AsyncClient) -> str | None:
    """Why the instance is not ready; None when it is."""
    response = await client.get("/health/ready")
    body = response.json()
    assert (response.status_code == 200) == (body["status"] == "ready")
    return None if body["reason"] is None else str(body["reason"])


async def run_sql(client: httpx.AsyncClient, sql: str) -> None:
    async with client.app.state.engine.begin() as connection:  # type: ignore[attr-defined]
        await connection.exec_driver_sql(sql)


async def test_migrated_database_makes_ready_and_names_the_build(
    migrated_database_url: str,
) -> None:
    made = settings(
        migrated_database_url, CAMP_DIGEST="sha256:1", CAMP_CONFIG_HASH="c", CAMP_INSTANCE="h/2"
    )
    async with client_of(made) as client:
        body = (await client.get("/health/ready")).json()
        assert (body["status"], body["reason"]) == ("ready", None)
        assert (body["digest"], body["config_hash"], body["instance"]) == ("sha256:1", "c", "h/2")


async def test_empty_database_is_told_with_the_command(database_url: str) -> None:
    async with client_of(settings(database_url)) as client:
        said = await reason(client)
        assert said is not None
        assert said.startswith("schema ")
        assert said.endswith("run camp migrate upgrade")


async def test_readiness_follows_the_schema_without_a_restart(migrated_database_url: str) -> None:
    head = packaged_history().head
    async with client_of(settings(migrated_database_url)) as client:
        await run_sql(client, f"DELETE FROM schema_history WHERE revision = '{head}'")
        assert await reason(client) == f"schema {head} is not applied: run camp migrate upgrade"
        await run_sql(client, f"INSERT INTO schema_history VALUES ('{head}', 'expand')")
        assert await reason(client) is None
        await run_sql(client, "INSERT INTO schema_history VALUES ('9998', 'expand')")
        assert await reason(client) is None
        await run_sql(client, "INSERT INTO schema_history VALUES ('9999', 'contract')")
        assert "9999" in str(await reason(client))


async def test_database_that_goes_and_comes_back_needs_no_restart(
    postgres: PostgresServer, migrated_database_url: str
) -> None:
    name = migrated_database_url.rsplit("/", 1)[1]
    async with client_of(settings(migrated_database_url)) as client:
        assert (await client.get("/api/v1/users/me")).status_code == 200
        assert await reason(client) is None
        postgres.psql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.psql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert str(await reason(client)).startswith("database does not answer")
        assert (await client.get("/health")).json()["status"] == "degraded"
        refused = await client.get("/api/v1/users/me")
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        postgres.psql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await reason(client) is None
        assert (await client.get("/api/v1/users/me")).status_code == 200


async def test_restarted_database_is_no_reason_to_leave_service(
    postgres: PostgresServer, migrated_database_url: str
) -> None:
    name = migrated_database_url.rsplit("/", 1)[1]
    async with client_of(settings(migrated_database_url)) as client:
        assert await reason(client) is None
        postgres.psql(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert await reason(client) is None


async def test_used_up_pool_is_no_reason_to_be_unready(migrated_database_url: str) -> None:
    made = settings(
        migrated_database_url, DB_POOL_SIZE="1", DB_MAX_OVERFLOW="0", DB_POOL_TIMEOUT_S="0.1"
    )
    async with client_of(made) as client, client.app.state.engine.connect() as held:  # type: ignore[attr-defined]
        await held.exec_driver_sql("SELECT 1")
        assert await reason(client) is None
        busy = await client.get("/api/v1/users/me")
        assert (busy.status_code, busy.json()["code"]) == (503, "database_busy")
        assert "camp_db_pool_in_use 1.0" in (await client.get("/metrics")).text


async def test_database_that_hangs_is_told_within_the_check_s_limit() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    closing = asyncio.Event()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(settings(f"postgresql://x@127.0.0.1:{port}/x")) as client:
            assert "within 1 s" in str(await reason(client))
        closing.set()


async def test_probes_at_once_share_one_check(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        answers = await asyncio.gather(*(reason(client) for _ in range(20)))
        assert set(answers) == {None}
        own = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE '%FROM schema_history%' AND pid <> pg_backend_pid()"
        )
        async with client.app.state.engine.connect() as connection:  # type: ignore[attr-defined]
            assert (await connection.exec_driver_sql(own)).scalar() == 1


async def test_redis_is_reported_and_never_makes_unready(
    migrated_database_url: str, redis_server: RedisServer
) -> None:
    for url, expected in ((redis_server.url(), "ok"), ("redis://127.0.0.1:1/0", "down")):
        async with client_of(settings(migrated_database_url, REDIS_URL=url)) as client:

            async def redis_is(client: httpx.AsyncClient = client, word: str = expected) -> bool:
                return bool((await client.get("/health")).json()["redis"] == word)

            assert await eventually(redis_is)
            assert await reason(client) is None
