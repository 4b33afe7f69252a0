"""`camp demo` as a process: what it refuses, and what it leaves behind. The whole is a CI step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from controlplane.demo.sweeper import marked
from tests.waiting import wait_until

DEMO = (sys.executable, "-m", "camp", "demo")
GONE_DEADLINE_S = 40.0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--rate", "0"), "--rate"),
        (("--streams", "none"), "--streams"),
        (("--what",), "--what"),
    ],
)
def test_wrong_option_is_a_usage_error(arguments: tuple[str, ...], named: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert named in done.stderr


def test_help_shows_an_example() -> None:
    assert "camp demo --keep" in run("--help").stdout


def test_folder_of_somebody_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run("--folder", str(tmp_path))
    assert done.returncode == 1
    assert "not a demo's folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    output = tmp_path / "output"
    with output.open("wb") as out:
        demo = subprocess.Popen(
            [*DEMO, "--folder", str(folder)], stdout=out, stderr=out, start_new_session=True
        )
    try:
        # Agents run instances by now: the kind of process that outlives all others.
        assert wait_until(lambda: started(folder) >= 2, 90), output.read_text()
        family = [*psutil.Process(demo.pid).children(recursive=True), *marked(folder)]
        os.kill(demo.pid, number)
        assert demo.wait(GONE_DEADLINE_S) == (-9 if number == signal.SIGKILL else 130)
    finally:
        demo.kill()
        demo.wait()
    left = psutil.wait_procs(set(family), timeout=GONE_DEADLINE_S)[1]
    assert [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert wait_until(lambda: not list(marked(folder)))


def started(folder: Path) -> int:
    """Instances that have begun to listen."""
    logs = folder.glob("agents/*/slots/*/log")
    return sum('"listening"' in log.read_text(errors="replace") for log in logs)
