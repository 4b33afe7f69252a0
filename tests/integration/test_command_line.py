"""The command line against a running instance: output and exit codes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from controlplane.domain.model import State
from tests.ledgers import ENVIRONMENT, a_release, deployed, furnish, lead
from tests.shells import Shell

FILE = """
[environments.local]
hosts = ["host-a", "host-b"]
edges = ["http://127.0.0.1:8080"]
"""


async def test_a_token_is_printed_alone_and_works(shell: Shell) -> None:
    made = await shell.camp("operator", "create", "bob")
    assert made.stdout.startswith("camp_")
    listed = await shell.camp("env", "list", CAMP_TOKEN=made.stdout.strip())
    assert listed.exit_code == 0
    again = await shell.camp("operator", "create", "bob")
    assert (again.exit_code, "already" in again.stderr) == (1, True)


async def test_without_a_token_the_exit_code_is_six(shell: Shell) -> None:
    result = await shell.camp("env", "list", CAMP_TOKEN="")
    assert result.exit_code == 6
    assert "CAMP_TOKEN" in result.stderr


async def test_environments_are_applied_and_shown(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text(FILE, encoding="utf-8")
    assert "would be created" in await shell.told("env", "apply", str(file), "--dry-run")
    created = await shell.told("env", "apply", str(file))
    assert created.startswith("local is now at version 1\nNo instance moves until a rollout: ")
    assert "has not changed" in await shell.told("env", "apply", str(file))
    assert "would not change" in await shell.told("env", "apply", str(file), "--dry-run")
    file.write_text(FILE + "policy.bake_s = 9.0\n", encoding="utf-8")
    change = "policy.bake_s  5.0 → 9.0"
    assert change in await shell.told("env", "apply", str(file), "--dry-run")
    rehearsed = json.loads(await shell.told("env", "apply", str(file), "--dry-run", "--json"))
    assert rehearsed[0]["changes"] == [change]
    assert change in await shell.told("env", "apply", str(file))
    assert "host-a, host-b" in await shell.told("env", "show", "local")
    assert json.loads(await shell.told("env", "list", "--json"))[0]["name"] == "local"
    assert "never" in await shell.told("host", "list")
    assert "host-a in local" in await shell.told("host", "show", "host-a")


async def test_environment_is_deleted_by_its_name_only(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text(FILE, encoding="utf-8")
    await shell.told("env", "apply", str(file))
    wrong = await shell.camp("env", "delete", "local", "--yes", "lokal")
    assert (wrong.exit_code, "nothing was done" in wrong.stderr) == (1, True)
    assert await shell.told("env", "delete", "local", "--yes", "local") == "local is deleted\n"
    assert (await shell.camp("env", "show", "local")).exit_code == 1
    assert "alice deleted local" in await shell.told("events")


async def test_route_of_an_environment_is_applied_and_shown(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    route = '[environments.local.route]\nhost = "camp.test"\n'
    file.write_text(FILE + route, encoding="utf-8")
    await shell.told("env", "apply", str(file))
    assert "entry point web, camp.test, path /" in await shell.told("env", "show", "local")


@pytest.mark.parametrize(
    "args",
    [
        ("env", "show", "nowhere"),
        ("env", "delete", "nowhere", "--yes", "nowhere"),
        ("release", "show", "9.9.9"),
        ("host", "show", "nobody"),
        ("host", "list", "-e", "nowhere"),
        ("rollout", "start", "nowhere", "1.0.0"),
        ("rollout", "start", "local", "9.9.9"),
        ("rollout", "show", "r-none"),
        ("rollout", "rollback", "local", "--reason", "x"),
        ("events", "--rollout", "r-none"),
    ],
)
async def test_unknown_names_are_a_sentence(shell: Shell, args: tuple[str, ...]) -> None:
    await furnish(shell.ledger, "1.0.0")
    result = await shell.camp(*args)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "see camp" in result.stderr or "--to" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.SUCCEEDED, 0), (State.ROLLED_BACK, 3), (State.FAILED, 4)],
)
async def test_a_watched_rollout_ends_with_its_code(shell: Shell, state: State, code: int) -> None:
    await furnish(shell.ledger, "1.0.0")
    watching = asyncio.create_task(
        shell.camp("rollout", "start", ENVIRONMENT, "1.0.0", "--watch", "--reason", "test")
    )
    await shell.rollout()
    await lead(shell.engine, state, "the test said so")
    result = await watching
    assert result.exit_code == code
    assert str(state) in result.stdout
    assert "the test said so" in result.stdout


async def test_watching_too_long_is_five_and_says_on_what(shell: Shell) -> None:
    await furnish(shell.ledger, "1.0.0")
    result = await shell.camp(
        *("rollout", "start", ENVIRONMENT, "1.0.0", "--watch", "--timeout", "0.1", "--json")
    )
    problem = json.loads(result.stderr)
    assert (result.exit_code, problem["code"]) == (5, "waited_too_long")
    assert "No agent leads local" in problem["detail"]


async def test_a_superseded_rollout_ends_its_watch_with_four(shell: Shell) -> None:
    await furnish(shell.ledger, "1.0.0", "1.1.0")
    watching = asyncio.create_task(shell.camp("rollout", "start", ENVIRONMENT, "1.0.0", "-w"))
    first = await shell.rollout()
    refused = await shell.camp("rollout", "start", ENVIRONMENT, "1.1.0")
    assert refused.exit_code == 1
    assert first in refused.stderr
    assert "--supersede" in refused.stderr
    await shell.told("rollout", "start", ENVIRONMENT, "1.1.0", "--supersede")
    assert (await watching).exit_code == 4


async def test_commands_steer_a_rollout(shell: Shell) -> None:
    await furnish(shell.ledger, "1.0.0")
    started = json.loads(await shell.told("rollout", "start", ENVIRONMENT, "1.0.0", "--json"))
    await lead(shell.engine, State.PROGRESSING)
    name = started["id"]
    assert "paused" in await shell.told("rollout", "pause", name, "--reason", "lunch")
    stale = await shell.camp("rollout", "abort", name, "--expect", "1")
    assert (stale.exit_code, "paused now" in stale.stderr) == (1, True)
    assert "progressing" in await shell.told("rollout", "resume", name)
    assert "No agent leads" in await shell.told("rollout", "why", name)
    assert "aborted" in await shell.told("rollout", "abort", name)
    assert (await shell.camp("rollout", "watch", name)).exit_code == 4
    assert name in await shell.told("rollout", "list")
    assert "lunch" in await shell.told("events", "--rollout", name)
    lines = (await shell.told("events", "--json", "--rollout", name)).splitlines()
    assert [json.loads(line)["rollout"] for line in lines] == [name] * len(lines)


async def test_a_rollback_by_name_undoes_a_finished_rollout(shell: Shell) -> None:
    await furnish(shell.ledger, "1.0.0", "1.1.0")
    for version in ("1.0.0", "1.1.0"):
        done = json.loads(await shell.told("rollout", "start", ENVIRONMENT, version, "--json"))
        await lead(shell.engine, State.SUCCEEDED)
    back = json.loads(
        await shell.told("rollout", "rollback", done["id"], "--reason", "errors", "--json")
    )
    assert (back["kind"], back["target"]["version"]) == ("rollback", "1.0.0")


async def test_a_bundle_with_another_digest_is_refused(shell: Shell, tmp_path: Path) -> None:
    from controlplane.adapters.process.bundle import Manifest, read, write

    wheel = tmp_path / "camp-1.0.0-py3-none-any.whl"
    wheel.write_bytes(b"PK\x05\x06" + bytes(18))
    bundle = tmp_path / "camp-1.0.0.zip"
    write(
        wheel,
        Manifest(version="1.0.0", revision="abc", schema_head="0002", schema_min="0001"),
        bundle,
    )

    wrong = await shell.camp("release", "add", str(bundle), "--expect-digest", "sha256:0")
    assert (wrong.exit_code, "other bytes" in wrong.stderr) == (1, True)
    digest = read(bundle).digest
    assert "added" in await shell.told("release", "add", str(bundle), "--expect-digest", digest)
    assert "known already" in await shell.told("release", "add", str(bundle))
    assert digest in await shell.told("release", "show", "1.0.0")
    assert a_release("1.0.0").version in await shell.told("release", "list")


async def test_present_release_is_started_anew_and_brought_to_other_counts(
    shell: Shell, tmp_path: Path
) -> None:
    await furnish(shell.ledger, "1.0.0")
    nothing = await shell.camp("rollout", "restart", "local")
    assert (nothing.exit_code, "nothing to start anew" in nothing.stderr) == (1, True)
    await deployed(shell.ledger, shell.engine, "1.0.0")
    assert "local to 1.0.0  pending" in await shell.told("rollout", "restart", "local")
    await lead(shell.engine, State.SUCCEEDED)
    assert "pending" in await shell.told("rollout", "scale", "local", "3")
    await lead(shell.engine, State.SUCCEEDED)
    file = tmp_path / "environments.toml"
    file.write_text(FILE, encoding="utf-8")
    assert "camp rollout scale local 2" in await shell.told("env", "apply", str(file))
