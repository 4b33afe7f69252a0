"""The embedded servers answer, restart in place and never outlive their owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from controlplane.embedded.kept import Bridge
from controlplane.embedded.servers import (
    PostgresServer,
    RedisServer,
    ServerStartFailed,
    TraefikServer,
    start_postgres,
    start_redis,
    start_traefik,
)
from tests.waiting import wait_until

OWNER = textwrap.dedent(
    """
    import signal, sys
    from pathlib import Path
    from controlplane.embedded.servers import start_postgres, start_redis, start_traefik

    folder = Path(sys.argv[1])
    redis = start_redis(folder / "redis")
    servers = [redis, start_postgres(folder / "pg"), start_traefik(folder / "traefik", redis)]
    print(*(server.pid for server in servers), *(s.keeper.pid for s in servers), flush=True)
    print(servers[1].data, flush=True)
    signal.pause()
    """
)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_postgres_answers_and_hands_out_fresh_databases(database_url: str) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    assert await connection.fetchval("SHOW server_version_num") >= "180000"
    assert await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    await connection.close()


def test_database_copied_from_a_template_has_its_tables(postgres: PostgresServer) -> None:
    postgres.create_database("origin")
    postgres.psql("CREATE TABLE t (n int)", "origin")
    postgres.create_database("copy", template="origin")
    assert postgres.psql("SELECT count(*) FROM t", "copy") == "0"
    postgres.drop_database("copy")
    postgres.drop_database("origin")


def test_migrated_database_has_the_tables(
    postgres: PostgresServer, migrated_database_url: str
) -> None:
    database = migrated_database_url.rpartition("/")[2]
    assert postgres.psql("SELECT count(*) > 0 FROM alembic_version", database) == "t"


def test_redis_sends_keyspace_events(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert "K" in client.config_get("notify-keyspace-events")["notify-keyspace-events"]
        assert client.dbsize() == 0


def test_traefik_follows_redis(redis_url: str, traefik: TraefikServer) -> None:
    with redis.Redis.from_url(redis_url) as client:
        service = f"{traefik.root_key}/http/services/one/loadbalancer/servers/0/url"
        router = f"{traefik.root_key}/http/routers/one"
        client.mset(
            {
                service: traefik.api_url,
                f"{router}/rule": "PathPrefix(`/ping`)",
                f"{router}/service": "one",
                f"{router}/entrypoints/0": "web",
            }
        )

    def answered() -> bool:
        try:
            with urllib.request.urlopen(f"{traefik.url}/ping") as answer:
                return bool(answer.read() == b"OK")
        except urllib.error.HTTPError:
            return False

    assert wait_until(answered)


def test_postgres_restarts_on_the_same_data_and_port(tmp_path: Path) -> None:
    first = start_postgres(tmp_path)
    first.create_database("kept")
    first.stop()
    assert not first.running
    second = start_postgres(tmp_path, port=first.port)
    assert second.psql("SELECT datname FROM pg_database WHERE datname = 'kept'") == "kept"
    second.stop()
    second.stop()


def test_killed_owner_takes_its_servers_along(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        data = Path(owner.stdout.readline().strip())
    assert len(pids) == 6
    assert not any(gone(pid) for pid in pids)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert wait_until(lambda: all(gone(pid) for pid in pids))
    assert not data.exists() or data.is_relative_to(tmp_path)


def test_killed_keeper_takes_its_server_along(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    server.keeper.kill()
    assert wait_until(lambda: gone(server.pid))
    server.stop()


def test_paused_server_still_stops(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert gone(server.pid)


def test_killed_server_is_seen_as_not_running(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.running)
    server.stop()


def test_port_in_use_is_said_with_the_remedy(tmp_path: Path, redis_server: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        starts: list[Callable[[], object]] = [
            lambda: start_redis(tmp_path / "redis", port=port),
            lambda: start_postgres(tmp_path / "postgres", port=port),
            lambda: start_traefik(tmp_path / "traefik", redis_server, web_port=port),
        ]
        for start in starts:
            with pytest.raises(ServerStartFailed, match=f"{port}.*Free the port"):
                start()


def test_owners_environment_does_not_reach_postgres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATABASE", "nowhere")
    server = start_postgres(tmp_path)
    assert server.psql("SELECT 1") == "1"
    server.stop()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="127.0.0.2 is an address on Linux only")
async def test_servers_answer_on_a_bridge_too(tmp_path: Path) -> None:
    bridge = Bridge("127.0.0.2", "127.0.0.2/32")
    redis_server = start_redis(tmp_path / "redis", bridge=bridge)
    postgres = start_postgres(tmp_path / "pg", bridge=bridge)
    try:
        with redis.Redis.from_url(redis_server.url(host=bridge.address)) as client:
            assert client.ping()
        stranger = redis.Redis(host=bridge.address, port=redis_server.port)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        url = postgres.url(host=bridge.address).replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        await connection.close()
    finally:
        redis_server.stop()
        postgres.stop()
