"""`camp serve` as a process: how it stops, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from camp.server import QUIET_S
from controlplane.adapters.postgres.engine import open_engine
from tests.service import NO_DATABASE, PRODUCTION, USER, Instance, running
from tests.waiting import wait_until

HEARTBEATS = {"CHAT_HEARTBEAT_S": "0.1"}
WORDS = " ".join(f"word{n}" for n in range(20))


@contextmanager
def streaming(instance: Instance, delay_ms: int) -> Iterator[Iterator[str]]:
    """The lines of a chat stream of 20 words that has begun."""
    with httpx.Client(base_url=f"{instance.url}/api/v1", headers=USER, timeout=20) as client:
        chat_id = client.post("/chats", json={}).json()["id"]
        body = {"content": WORDS, "token_delay_ms": delay_ms}
        with client.stream("POST", f"/chats/{chat_id}/stream", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            yield lines


def ready(instance: Instance) -> int:
    return httpx.get(f"{instance.url}/health/ready").status_code


def test_sigterm_lets_a_chat_stream_end_while_requests_are_served(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with running(tmp_path, migrated_database_url) as instance:
        assert ready(instance) == 200
        with streaming(instance, delay_ms=150) as lines:
            instance.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: ready(instance) == 503)
            me = httpx.get(f"{instance.url}/api/v1/users/me", headers=USER)
            assert me.status_code == 200
            assert "event: done" in list(lines)
        assert instance.exit_code() == 0


def test_instance_listens_on_for_a_quiet_while_before_it_stops(tmp_path: Path) -> None:
    with running(tmp_path, NO_DATABASE) as instance:
        instance.process.send_signal(signal.SIGTERM)
        assert instance.exit_code() == 0
        said = {line["event"]: str(line["timestamp"]) for line in instance.lines()}
        quiet = datetime.fromisoformat(said["stopping"]) - datetime.fromisoformat(said["draining"])
        assert quiet.total_seconds() >= QUIET_S


def test_stream_of_a_client_that_leaves_is_not_waited_for(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with running(tmp_path, migrated_database_url, **HEARTBEATS) as instance:
        with streaming(instance, delay_ms=5000):
            assert httpx.get(f"{instance.url}/health").json()["streams"] == 1
        assert wait_until(lambda: httpx.get(f"{instance.url}/health").json()["streams"] == 0)


def test_deadline_ends_a_chat_stream_with_an_event(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with running(tmp_path, migrated_database_url, **HEARTBEATS, DRAIN_DEADLINE_S="0.3") as instance:
        with streaming(instance, delay_ms=5000) as lines:
            instance.process.send_signal(signal.SIGTERM)
            assert "event: draining" in list(lines)
        assert instance.exit_code() == 0


def test_second_signal_stops_at_once(tmp_path: Path, migrated_database_url: str) -> None:
    with running(tmp_path, migrated_database_url, **HEARTBEATS) as instance:
        with streaming(instance, delay_ms=5000) as lines:
            instance.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: ready(instance) == 503)
            instance.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.TransportError):
                list(lines)
        assert instance.exit_code() == 1


def test_drain_over_http_does_not_end_the_process(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with running(tmp_path, migrated_database_url) as instance:
        drained = httpx.post(f"{instance.url}/internal/drain", json={"deadline_s": 0})
        assert drained.status_code == 202
        assert ready(instance) == 503
        me = httpx.get(f"{instance.url}/api/v1/users/me", headers=USER)
        assert me.status_code == 200
        assert instance.process.poll() is None


def test_idle_kept_alive_connections_do_not_delay_the_exit(tmp_path: Path) -> None:
    with running(tmp_path, NO_DATABASE) as instance, httpx.Client() as client:
        client.get(f"{instance.url}/")
        began = time.monotonic()
        instance.process.send_signal(signal.SIGTERM)
        assert instance.exit_code() == 0
        assert time.monotonic() - began < 10


def test_instance_starts_without_its_database_and_says_so(tmp_path: Path) -> None:
    with running(tmp_path, NO_DATABASE) as instance:
        assert ready(instance) == 503
        assert httpx.get(f"{instance.url}/health").json()["database"] == "down"


def test_answer_goes_on_in_another_process_after_a_kill(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with (
        running(tmp_path, migrated_database_url) as one,
        running(tmp_path, migrated_database_url) as other,
        httpx.Client(headers=USER, timeout=20) as client,
    ):
        chat_id = client.post(f"{one.url}/api/v1/chats", json={}).json()["id"]
        path = f"/api/v1/chats/{chat_id}/stream"
        seen: list[str] = []
        last = ""
        body = {"content": WORDS, "token_delay_ms": 30}
        with (
            client.stream("POST", one.url + path, json=body) as response,
            suppress(httpx.HTTPError),
        ):
            for line in response.iter_lines():
                last = line[4:] if line.startswith("id: ") else last
                seen += texts(line)
                if len(seen) == 5:
                    one.process.kill()
        assert len(seen) < 20
        rest = client.post(
            other.url + path, json=body | {"token_delay_ms": 0}, headers={"last-event-id": last}
        )
        seen += [text for line in rest.text.splitlines() for text in texts(line)]
        assert "".join(seen) == WORDS


def texts(line: str) -> list[str]:
    return [json.loads(line[6:])["text"]] if line.startswith('data: {"text"') else []


def test_port_in_use_is_a_sentence_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = serve(tmp_path, "--port", str(port))
    assert said.returncode == 1
    assert said.stderr.strip().endswith("Stop what listens there, or set PORT or --port.")
    assert f"port {port} is in use" in said.stderr


def test_wrong_settings_are_sentences_and_no_traceback(tmp_path: Path) -> None:
    said = serve(tmp_path, DATABASE_URL="mysql://db/x", LOG_LEVEL="loud")
    assert said.returncode == 1
    assert "DATABASE_URL" in said.stderr
    assert "LOG_LEVEL" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        ("DEBUG", {"DEBUG": "true"}),
        ("AUTH_MODE", {"AUTH_MODE": "development"}),
        ("CAMP_SMOKE_TOKEN", {"CAMP_SMOKE_TOKEN": "changeme"}),
        ("ALLOWED_ORIGINS", {"ALLOWED_ORIGINS": "*"}),
        ("ENTRA_TENANT_ID", {"ENTRA_TENANT_ID": ""}),
        ("ANTHROPIC_API_KEY", {"LLM_PROVIDER": "anthropic", "LLM_MODEL": "a-model"}),
        ("DATABASE_URL", {"DATABASE_URL": "postgresql://camp:pw@db/camp"}),
    ],
)
def test_production_does_not_start_with_one_unsafe_setting(
    tmp_path: Path, name: str, unsafe: dict[str, str]
) -> None:
    said = serve(tmp_path, **(PRODUCTION | unsafe))
    assert said.returncode == 1
    (fault,) = said.stderr.splitlines()
    assert fault.startswith(f"Error: {name} ")


def test_log_is_one_json_object_a_request(tmp_path: Path) -> None:
    with running(tmp_path, NO_DATABASE) as instance:
        httpx.get(f"{instance.url}/nowhere", headers={"x-request-id": "trace-1"})
        assert wait_until(lambda: logged(instance, "trace-1"))
        (line,) = logged(instance, "trace-1")
        assert (line["event"], line["method"], line["route"], line["status"]) == (
            "request",
            "GET",
            "unmatched",
            404,
        )
        assert isinstance(line["duration_ms"], float)


def test_log_line_of_a_signed_in_request_names_the_user(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with running(tmp_path, migrated_database_url, CAMP_INSTANCE="h/2") as instance:
        headers = USER | {"x-request-id": "mine"}
        response = httpx.get(f"{instance.url}/api/v1/users/me", headers=headers)
        assert wait_until(lambda: logged(instance, "mine"))
        (line,) = logged(instance, "mine")
        assert (line["route"], line["instance"]) == ("/api/v1/users/me", "h/2")
        assert (line["user"], line["bytes"]) == (response.json()["id"], len(response.content))


@pytest.mark.parametrize(
    "broken",
    [
        "ALTER TABLE messages DROP COLUMN role CASCADE",
        "ALTER TABLE messages ADD CONSTRAINT mute CHECK (content = '') NOT VALID",
    ],
)
def test_what_users_say_is_in_no_log_line_when_it_cannot_be_kept(
    tmp_path: Path, migrated_database_url: str, broken: str
) -> None:
    asyncio.run(executed(migrated_database_url, broken))
    with running(tmp_path, migrated_database_url) as instance:
        chats = f"{instance.url}/api/v1/chats"
        chat_id = httpx.post(chats, json={}, headers=USER).json()["id"]
        said = {"content": "between you and me"}
        refused = httpx.post(f"{chats}/{chat_id}/stream", json=said, headers=USER)
        assert refused.status_code >= 400
        assert wait_until(lambda: "messages" in instance.log.read_text())
        assert "between you and me" not in instance.log.read_text()
        assert "between you and me" not in refused.text


async def executed(url: str, sql: str) -> None:
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(sql)
    await engine.dispose()


def logged(instance: Instance, request_id: str) -> list[dict[str, object]]:
    return [line for line in instance.lines() if line.get("request_id") == request_id]


def serve(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parent.parent.parent)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "DATABASE_URL": NO_DATABASE}
    environ |= {"ENVIRONMENT": "local"}
    return subprocess.run(
        [sys.executable, "-m", "camp", "serve", *arguments],
        env=environ | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
