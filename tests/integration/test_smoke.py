"""`camp smoke` against a real instance, whole and broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from controlplane.cli.smoke import CHECKS, visit
from tests.served import serving
from tests.service import NO_DATABASE, running

TOKEN = "test-token"
# What is not about time has plenty of it.
PATIENT_S = "20"


def smoke(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "camp", "smoke", url, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_whole_instance_passes_within_three_seconds_and_nothing_is_left(
    tmp_path: Path, migrated_database_url: str
) -> None:
    with running(tmp_path, migrated_database_url, RUN_WORKERS="1") as instance:
        done = smoke(instance.url, "--token", TOKEN, "--json")
        report = json.loads(done.stdout)
        assert (done.returncode, report["passed"]) == (0, True), done.stdout
        assert [check["check"] for check in report["checks"]] == list(CHECKS)
        assert report["took_ms"] < 3000
        for things in ("projects", "chats", "runs"):
            left = httpx.get(
                f"{instance.url}/api/v1/{things}", headers={"authorization": f"Bearer {TOKEN}"}
            )
            assert left.json()["items"] == []


def test_wrong_token_is_an_exit_code_of_its_own(tmp_path: Path, migrated_database_url: str) -> None:
    with running(tmp_path, migrated_database_url) as instance:
        done = smoke(instance.url, "--token", "wrong", "--timeout", PATIENT_S)
        assert done.returncode == 6
        assert "FAIL  users" in done.stdout
        assert "pass  health" in done.stdout


async def test_what_does_not_work_is_named_with_the_problem() -> None:
    async with serving(NO_DATABASE) as served:
        report, refused = await visit(served.url, "camp-dev-token", float(PATIENT_S))
        failed = {check.check: check.detail for check in report.checks if not check.passed}
        assert (report.passed, refused) == (False, False)
        assert set(failed) == {"health", "users", "projects", "files", "chats", "runs"}
        assert "database_unavailable" in failed["users"]


def test_instance_that_is_away_is_told_once() -> None:
    done = smoke("http://127.0.0.1:1", "--token", TOKEN)
    assert done.returncode == 4
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["FAIL", "health"],
        ["0", "of"],
    ]
    assert "0 of 9 checks passed" in done.stdout
    assert "health: nothing answers there" in done.stdout
    assert "Traceback" not in done.stderr
