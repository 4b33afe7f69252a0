"""Commands that show an environment: status, lists, logs, and names that stand for rollouts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from controlplane.adapters.postgres.store import PostgresStore
from controlplane.adapters.redis.bus import RedisBus
from controlplane.adapters.redis.client import open_redis
from controlplane.adapters.redis.logs import RedisLogRequests, topic
from controlplane.domain.goals import Goal, SlotGoal
from controlplane.domain.model import State
from controlplane.domain.records import Changes
from controlplane.domain.reports import HostReport, Phase, SlotReport
from controlplane.domain.routing import Member, Table
from controlplane.ports.logs import LogAnswer
from tests.ledgers import ENVIRONMENT, a_release, a_start, deployed, furnish, lead
from tests.shells import Shell
from tests.waiting import eventually

OLD, NEW = a_release("1.0.0"), a_release("1.1.0")
SLOTS = (
    SlotReport(1, OLD.spec, Phase.HEALTHY, "10.0.0.1:1", restarts=2),
    SlotReport(2, NEW.spec, Phase.HEALTHY, "10.0.0.1:2"),
)
REPORT = HostReport("host-a", 1, 1, slots=SLOTS, agent_version="1")


async def begun(shell: Shell, *words: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *words, env=os.environ | shell.environ, stdout=PIPE, stderr=PIPE
    )


async def started(shell: Shell, *args: str) -> Process:
    return await begun(shell, sys.executable, "-m", "camp", *args)


async def interrupted(process: Process) -> tuple[str, str]:
    """What Ctrl-C makes of it: its last words on both outputs."""
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        rest, said = await process.communicate()
    assert process.returncode == 130
    return rest.decode(), said.decode()


async def half_way(shell: Shell) -> None:
    """1.0.0 held, then a rollout to 1.1.0 was aborted when half of it was done."""
    await furnish(shell.ledger, "1.0.0", "1.1.0")
    await deployed(shell.ledger, shell.engine, "1.0.0")
    await shell.ledger.start(a_start("1.1.0", reason="ticket 4711"))
    await lead(shell.engine, State.PROGRESSING)
    store = PostgresStore(shell.engine, ENVIRONMENT)
    seen = await store.observe()
    slots = (
        SlotGoal("host-a", 1, OLD, Goal.RUN, seen.now, admitted_once=True),
        SlotGoal("host-a", 2, NEW, Goal.RUN, seen.now, admitted_once=True),
    )
    members = (Member("host-a", 1, "10.0.0.1:1"), Member("host-a", 2, "10.0.0.1:2"))
    await store.commit(1, "test", seen, Changes(slots=slots, table=Table(1, frozenset(members))))
    await store.report(REPORT)
    await lead(shell.engine, State.ABORTED, "aborted by alice")


async def test_a_mixed_fleet_looks_mixed_in_every_list(shell: Shell) -> None:
    await half_way(shell)
    assert "1 × 1.0.0, 1 × 1.1.0 (mixed)" in await shell.told("env", "list")
    assert "1 × 1.0.0, 1 × 1.1.0 (mixed)" in await shell.told("env", "show", ENVIRONMENT)
    assert "1.0.0, 1.1.0 (mixed)" in await shell.told("host", "list")


async def test_one_screen_shows_releases_leader_rollout_drift_and_restarts(
    shell: Shell, redis_url: str
) -> None:
    await half_way(shell)
    async with answering(shell, redis_url, {}):
        told = await shell.told("status", ENVIRONMENT)
    for said in (
        "local  1.0.0",
        "2 of 4 available; 1 × 1.0.0, 1 × 1.1.0 (mixed)",
        "none: nothing changes until an agent leads",
        "to 1.1.0: aborted",
        "host-a/2 runs 1.1.0, not 1.0.0",
        "host-b is silent",
        "1: 1.0.0 (2 restarts)",
    ):
        assert said in told
    assert len(told.splitlines()) <= 22
    assert max(map(len, told.splitlines())) <= 80
    shown = json.loads(await shell.told("status", ENVIRONMENT, "--json"))
    assert (shown["rollout"]["state"], shown["leader"]) == ("aborted", None)
    assert "host-a/2 runs 1.1.0, not 1.0.0" in shown["drift"]
    assert (await shell.camp("status", "nowhere")).exit_code == 1


async def test_an_environment_stands_for_its_active_or_latest_rollout(shell: Shell) -> None:
    await furnish(shell.ledger, "1.0.0", "1.1.0")
    refused = await shell.camp("rollout", "show", ENVIRONMENT)
    assert (refused.exit_code, "no rollout yet" in refused.stderr) == (1, True)
    first = await deployed(shell.ledger, shell.engine, "1.0.0")
    assert first.id in await shell.told("rollout", "show", ENVIRONMENT)
    second = json.loads(await shell.told("rollout", "start", ENVIRONMENT, "1.1.0", "--json"))["id"]
    await lead(shell.engine, State.PROGRESSING)
    assert second in await shell.told("rollout", "pause", ENVIRONMENT, "--reason", "lunch")
    assert "No agent leads" in await shell.told("rollout", "why", ENVIRONMENT)
    assert second in await shell.told("rollout", "resume", ENVIRONMENT)
    turned = await shell.told("rollout", "rollback", ENVIRONMENT, "--reason", "errors")
    assert (second in turned, "rolling_back" in turned) == (True, True)
    assert second in await shell.told("rollout", "abort", ENVIRONMENT)
    assert (await shell.camp("rollout", "watch", ENVIRONMENT)).exit_code == 4


async def test_the_list_of_rollouts_says_when_how_long_and_why(shell: Shell) -> None:
    await half_way(shell)
    head, latest, _ = (await shell.told("rollout", "list")).splitlines()
    for column in ("FROM", "TO", "STATE", "BEGAN", "TOOK", "WHY"):
        assert column in head
    assert latest.endswith("alice: ticket 4711")
    assert " 0 s " in latest


async def test_leaving_a_watch_says_that_the_rollout_goes_on(shell: Shell) -> None:
    await furnish(shell.ledger, "1.0.0")
    watch = await started(shell, "rollout", "start", ENVIRONMENT, "1.0.0", "--watch")
    name = await shell.rollout()
    assert watch.stdout is not None
    # The first line comes from within the watch.
    await watch.stdout.readline()
    _, said = await interrupted(watch)
    assert f"Rollout {name} goes on without you." in said
    assert f"camp rollout watch {ENVIRONMENT}" in said
    assert "Abort" not in said
    assert "Traceback" not in said
    assert await shell.rollout() == name


async def test_a_log_that_is_followed_ends_quietly_when_its_reader_goes(shell: Shell) -> None:
    await half_way(shell)
    camp = f"{sys.executable} -m camp events --limit 1000"
    # A reader that is gone before the first line: what head leaves unread may fit into the pipe.
    script = f"set -o pipefail; {camp} | true; {camp} --json | true"
    shut = await begun(shell, "bash", "-c", script)
    _, said = await shut.communicate()
    assert (said, shut.returncode) == (b"", 141)


@asynccontextmanager
async def answering(
    shell: Shell, redis_url: str, logs: dict[int, list[str]]
) -> AsyncIterator[None]:
    """An agent of host-a that reports, and answers for the logs of its slots."""

    async def answer() -> None:
        redis, store = open_redis(redis_url), PostgresStore(shell.engine, ENVIRONMENT)
        try:
            requests = RedisLogRequests(redis, ENVIRONMENT, "host-a")
            async with RedisBus(redis, ENVIRONMENT, (topic("host-a"),)) as bus:
                while True:
                    await store.report(REPORT)
                    while (asked := await requests.next()) is not None:
                        lines = logs.get(asked.slot, [])[-asked.lines :]
                        await requests.answer(asked, LogAnswer(tuple(lines)))
                    await bus.wait(0.2)
        finally:
            await redis.aclose()

    agent = asyncio.create_task(answer())
    try:
        yield
    finally:
        agent.cancel()
        await asyncio.wait({agent})


async def test_logs_of_all_instances_stand_behind_their_names(shell: Shell, redis_url: str) -> None:
    await half_way(shell)
    logs = {1: [f"one {n}" for n in range(20)], 2: ["two"]}
    async with answering(shell, redis_url, logs):
        told = await shell.told("logs", ENVIRONMENT, "-n", "2")
        assert sorted(told.splitlines()) == [
            "host-a/1  one 18",
            "host-a/1  one 19",
            "host-a/2  two",
        ]
        only = await shell.told("logs", ENVIRONMENT, "-i", "host-a/2", "--json")
        assert json.loads(only) == {"instance": "host-a/2", "line": "two"}
        assert await shell.told("host", "logs", "host-a/2") == "two\n"
        assert await shell.told("host", "logs", "host-a", "2") == "two\n"
        missing = await shell.camp("host", "logs", "host-a", "99")
        assert missing.exit_code == 1
        assert "no instance host-a/99" in missing.stderr
        assert "host-a/1, host-a/2" in missing.stderr
        unknown = await shell.camp("logs", ENVIRONMENT, "-i", "host-b/7")
        assert (unknown.exit_code, "host-a/1" in unknown.stderr) == (1, True)


async def test_a_followed_log_goes_on_with_what_is_written(shell: Shell, redis_url: str) -> None:
    await half_way(shell)
    logs = {1: ["before"], 2: []}
    async with answering(shell, redis_url, logs):
        following = await started(shell, "logs", "--follow", ENVIRONMENT)
        assert following.stdout is not None
        assert await following.stdout.readline() == b"host-a/1  before\n"
        logs[2].append("after")
        assert await following.stdout.readline() == b"host-a/2  after\n"
        rest, said = await interrupted(following)
    assert (rest, said.strip()) == ("", "")


async def test_a_revoked_operator_is_listed_and_locked_out(shell: Shell) -> None:
    token = (await shell.told("operator", "create", "bob")).strip()
    done = await shell.told("operator", "revoke", "bob", "--reason", "left")
    assert done == "bob can use the control API no longer\n"
    assert "was revoked before" in await shell.told("operator", "revoke", "bob")

    async def refused() -> bool:
        return (await shell.camp("env", "list", CAMP_TOKEN=token)).exit_code == 6

    assert await eventually(refused)
    listed = (await shell.told("operator", "list")).splitlines()
    assert listed[2].endswith("by alice")
    assert [o["name"] for o in json.loads(await shell.told("operator", "list", "--json"))] == [
        "alice",
        "bob",
    ]
    last = await shell.camp("operator", "revoke", "alice")
    assert (last.exit_code, "last operator" in last.stderr) == (1, True)


async def test_logs_of_a_silent_host_are_said_to_be_out_of_reach_at_once(shell: Shell) -> None:
    await half_way(shell)
    async with shell.engine.begin() as connection:
        await connection.execute(text("UPDATE hosts SET seen_at = seen_at - interval '1 hour'"))
    result = await shell.camp("logs", ENVIRONMENT)
    assert result.stdout == ""
    assert result.stderr.startswith("host-a: its agent does not report")
