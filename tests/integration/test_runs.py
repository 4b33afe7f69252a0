"""Runs on a real PostgreSQL: made once, worked on by one, handed over, ended."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from camp.database.engine import build_engine, build_sessions
from camp.runs.leases import LeaseLost, Leases
from tests.service import USER, client_of, running, settings
from tests.waiting import eventually, wait_until

RUNS = "/api/v1/runs"
WORKING = {"RUN_WORKERS": "2"}


def echo(said: str = "hello", /, **more: int) -> dict[str, Any]:
    return {"kind": "echo", "input": {"text": said, **more}}


async def start(client: httpx.AsyncClient, body: dict[str, Any], key: str = "") -> httpx.Response:
    return await client.post(RUNS, json=body, headers={"Idempotency-Key": key} if key else {})


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async def has_ended() -> bool:
        return (await client.get(f"{RUNS}/{run_id}")).json()["state"] not in {"waiting", "running"}

    assert await eventually(has_ended)
    found: dict[str, Any] = (await client.get(f"{RUNS}/{run_id}")).json()
    return found


async def test_echo_says_its_text_back(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, **WORKING)) as client:
        response = await start(client, echo(steps=3))
        assert response.status_code == 202
        assert response.headers["location"] == f"{RUNS}/{response.json()['id']}"
        run = await ended(client, response.json()["id"])
    assert (run["state"], run["steps_done"], run["steps_total"]) == ("succeeded", 3, 3)
    assert run["result"] == {"text": "hello", "steps": 3}


async def test_chat_is_summarised_by_the_provider(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, **WORKING)) as client:
        chat = (await client.post("/api/v1/chats", json={})).json()["id"]
        said = {"content": "bread and butter", "token_delay_ms": 0}
        await client.post(f"/api/v1/chats/{chat}/stream", json=said)
        body = {"kind": "summarise_chat", "input": {"chat_id": chat}}
        run = await ended(client, (await start(client, body)).json()["id"])
        assert "bread and butter" in run["result"]["summary"]
        unknown = {"kind": "summarise_chat", "input": {"chat_id": str(run["id"])}}
        run = await ended(client, (await start(client, unknown)).json()["id"])
    assert (run["state"], run["attempt"], run["error"]["code"]) == ("failed", 1, "chat_not_found")


async def test_one_key_makes_one_run(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        first, second = await asyncio.gather(
            start(client, echo(), "key-1"), start(client, echo(), "key-1")
        )
        assert first.json()["id"] == second.json()["id"]
        other = await start(client, echo("bye"), "key-1")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert (await client.get(RUNS)).json()["total"] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"kind": "dance", "input": {}}, "invalid"),
        (echo(steps=0), "run_input_invalid"),
        (echo("a\x00b"), "run_input_invalid"),
        ({"kind": "summarise_chat", "input": {"chat_id": "x"}}, "run_input_invalid"),
        ({"kind": "echo"}, "validation_failed"),
    ],
)
async def test_what_no_kind_takes_is_refused(
    migrated_database_url: str, body: dict[str, Any], code: str
) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        response = await start(client, body)
    assert (response.status_code, response.json()["code"]) == (400, code)


async def test_cancel_stops_the_work_and_stays(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, **WORKING)) as client:
        app = client.app  # type: ignore[attr-defined]  # put there by client_of
        run_id = (await start(client, echo(steps=10, delay_ms=5000))).json()["id"]
        assert await eventually(lambda: app.state.run_worker.held == 1)
        cancelled = await client.post(f"{RUNS}/{run_id}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert await eventually(lambda: app.state.run_worker.held == 0)
        assert (await client.get(f"{RUNS}/{run_id}")).json()["state"] == "cancelled"


async def test_events_tell_progress_and_end(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, **WORKING)) as client:
        run_id = (await start(client, echo(steps=4, delay_ms=300))).json()["id"]
        response = await client.get(f"{RUNS}/{run_id}/events", timeout=20)
    lines = response.text.splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[0] == "progress"
    assert names[-1] == "done"
    last = [json.loads(line[6:]) for line in lines if line.startswith("data: ")][-1]
    assert (last["state"], last["steps_done"]) == ("succeeded", 4)


async def test_lists_by_state_and_only_ones_own(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        one, _ = [(await start(client, echo())).json()["id"] for _ in range(2)]
        await client.post(f"{RUNS}/{one}/cancel")
        assert [
            run["id"] for run in (await client.get(f"{RUNS}?state=cancelled")).json()["items"]
        ] == [one]
        assert (await client.get(f"{RUNS}?state=waiting&limit=1")).json()["total"] == 1
        missing = await client.get(f"{RUNS}/00000000-0000-7000-8000-000000000000")
        assert (missing.status_code, missing.json()["code"]) == (404, "run_not_found")


async def test_worker_that_lost_its_lease_cannot_complete(migrated_database_url: str) -> None:
    made = settings(migrated_database_url)
    async with client_of(made) as client:
        run_id = (await start(client, echo())).json()["id"]
        engine = build_engine(made)
        leases = Leases(build_sessions(engine), "test", lease_s=60)
        [old] = await leases.take(["echo"], 5)
        assert await leases.take(["echo"], 5) == []
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE runs SET due_at = now() - interval '1 second'"))
        [new] = await leases.take(["echo"], 5)
        assert (new.fence, new.attempt) == (old.fence + 1, 2)
        for late in (leases.succeed(old, {}), leases.report(old, 1, 1, {}), leases.release(old)):
            with pytest.raises(LeaseLost):
                await late
        assert await leases.renew([old]) == set()
        await leases.succeed(new, {"by": "new"})
        assert (await client.get(f"{RUNS}/{run_id}")).json()["result"] == {"by": "new"}
        await engine.dispose()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("expires_at = now()", "run_expired"),
        ("state = 'running', due_at = now(), attempt = attempts_max", "run_lost"),
    ],
)
async def test_nothing_stays_for_ever(migrated_database_url: str, change: str, code: str) -> None:
    made = settings(migrated_database_url)
    async with client_of(made) as client:
        run_id = (await start(client, echo())).json()["id"]
        engine = build_engine(made)
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE runs SET {change}"))
        leases = Leases(build_sessions(engine), "test", lease_s=60)
        assert await leases.take(["echo"], 5) == []
        await leases.sweep()
        run = (await client.get(f"{RUNS}/{run_id}")).json()
        assert (run["state"], run["error"]["code"]) == ("failed", code)
        await engine.dispose()


def test_drain_hands_over_long_before_the_lease_ends(
    tmp_path: Path, migrated_database_url: str, redis_url: str
) -> None:
    both = {**WORKING, "REDIS_URL": redis_url}
    with running(tmp_path, migrated_database_url, **both, CAMP_INSTANCE="a/1") as one:
        run = f"{RUNS}/" + _begun(one.url, steps=200, delay_ms=100)
        with running(tmp_path, migrated_database_url, **both, CAMP_INSTANCE="b/1") as two:
            one.process.send_signal(signal.SIGTERM)
            at = time.monotonic()
            assert wait_until(lambda: "runs given back" in one.log.read_text())
            done = _get(two.url + run)["steps_done"]
            assert done >= 2
            assert wait_until(lambda: _get(two.url + run)["steps_done"] > done)
            assert time.monotonic() - at < 5
            assert one.exit_code() == 0
            assert _get(two.url + run)["attempt"] == 1


def test_killed_instance_loses_its_run_after_the_lease(
    tmp_path: Path, migrated_database_url: str
) -> None:
    both = {**WORKING, "RUN_LEASE_S": "1"}
    with running(tmp_path, migrated_database_url, **both) as one:
        run = f"{RUNS}/" + _begun(one.url, steps=200, delay_ms=100)
        with running(tmp_path, migrated_database_url, **both) as two:
            one.process.kill()
            assert wait_until(lambda: _get(two.url + run)["attempt"] == 2)
            done = _get(two.url + run)["steps_done"]
            assert done >= 2
            assert wait_until(lambda: _get(two.url + run)["steps_done"] > done)


def _get(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(url, headers=USER).json()
    return found


def _begun(url: str, **more: int) -> str:
    run_id = str(httpx.post(url + RUNS, json=echo(**more), headers=USER).json()["id"])
    assert wait_until(lambda: _get(f"{url}{RUNS}/{run_id}")["steps_done"] >= 2)
    return run_id


async def test_run_is_forgotten_once_it_has_ended(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        path = f"{RUNS}/{(await start(client, echo())).json()['id']}"
        active = await client.delete(path)
        assert (active.status_code, active.json()["code"]) == (409, "run_active")
        await client.post(f"{path}/cancel")
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).json()["code"] == "run_not_found"


async def test_user_has_so_many_runs_under_way_and_no_more(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url, RUN_MAX_ACTIVE="3")) as client:
        begun = await asyncio.gather(*(start(client, echo(), f"key-{n}") for n in range(8)))
        assert sorted(r.status_code for r in begun) == [202] * 3 + [429] * 5
        refused = next(r for r in begun if r.status_code == 429)
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("too_many_runs", "10")
        known = next(r for r in begun if r.status_code == 202).json()["id"]
        key = f"key-{[r.status_code for r in begun].index(202)}"
        assert (await start(client, echo(), key)).json()["id"] == known
        await client.post(f"{RUNS}/{known}/cancel")
        assert (await start(client, echo())).status_code == 202


async def test_old_runs_are_forgotten_and_young_ones_kept(migrated_database_url: str) -> None:
    async with client_of(settings(migrated_database_url)) as client:
        old, young, waiting = [(await start(client, echo())).json()["id"] for _ in range(3)]
        for run in (old, young):
            await client.post(f"{RUNS}/{run}/cancel")
        engine = build_engine(settings(migrated_database_url))
        long_ago = "UPDATE runs SET updated_at = now() - interval '31 days' WHERE id IN (:a, :b)"
        async with engine.begin() as connection:
            await connection.execute(text(long_ago), {"a": old, "b": waiting})
        leases = Leases(build_sessions(engine), "test", lease_s=60)
        assert [await leases.forget(timedelta(days=30)) for _ in range(2)] == [1, 0]
        await engine.dispose()
        left = {run["id"] for run in (await client.get(RUNS)).json()["items"]}
        assert left == {young, waiting}
