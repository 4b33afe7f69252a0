"""A demo that is kept notices what ends by itself."""

from __future__ import annotations

import os
from pathlib import Path

from controlplane.demo.keeping import gone
from controlplane.demo.stage import Program, Servers
from controlplane.embedded.postgres import PostgresServer
from controlplane.embedded.servers import TraefikServer, start_redis
from tests.waiting import eventually


async def test_what_ends_by_itself_is_told_with_what_it_means(
    tmp_path: Path, postgres: PostgresServer, traefik: TraefikServer
) -> None:
    redis = start_redis(tmp_path / "redis")
    servers = Servers(postgres, redis, traefik)
    # It ends by itself: no such file.
    agent = Program(("env", "apply", "none.toml"), os.environ, tmp_path, "host-a")
    try:
        assert list(gone(servers, {"host-a": agent})) == []
    finally:
        redis.stop()
    await agent.start()
    assert await eventually(lambda: agent.code is not None, 20)

    lost, ended = gone(servers, {"host-a": agent})
    assert lost.startswith("Redis has ended: instances serve on")
    assert ended.startswith("The agent of host-a has ended with code 2; its instances serve on.")
