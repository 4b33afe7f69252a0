"""A demo's folder and what is left behind in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.demo.stage import DemoFailed, take
from controlplane.demo.sweeper import Sweeper, mark, marked
from tests.waiting import wait_until

SLEEPER = "import signal; signal.pause()"


def sleeper(environ: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SLEEPER],
        env=os.environ | environ,
        start_new_session=True,
    )


def test_foreign_folder_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoFailed, match="not a demo's folder"):
        take(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_folder_of_a_former_demo_is_emptied(tmp_path: Path) -> None:
    take(tmp_path).close()
    (tmp_path / "agents" / "host-a").mkdir(parents=True)
    (tmp_path / "report.json").write_text("{}")
    with take(tmp_path):
        assert [entry.name for entry in tmp_path.iterdir()] == ["demo.lock"]


def test_second_demo_in_one_folder_is_refused(tmp_path: Path) -> None:
    with take(tmp_path), pytest.raises(DemoFailed, match="Another demo runs"):
        take(tmp_path)


def test_sweeper_ends_what_carries_the_mark_and_nothing_else(tmp_path: Path) -> None:
    ours = sleeper(mark(tmp_path))
    agents = sleeper({"CAMP_HOME": str(tmp_path / "agents" / "host-a")})
    other = sleeper(mark(tmp_path.with_name(f"{tmp_path.name}-other")))
    try:
        assert wait_until(lambda: {p.pid for p in marked(tmp_path)} == {ours.pid, agents.pid})
        Sweeper(tmp_path).finish()
        assert ours.wait(5) == agents.wait(5) == -9
        assert other.poll() is None
    finally:
        for process in (ours, agents, other):
            process.kill()
            process.wait()


def test_sweeper_acts_when_its_owner_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path;"
        "from controlplane.demo.sweeper import Sweeper;"
        "Sweeper(Path(sys.argv[1])); print('up', flush=True); signal.pause()"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    ours = sleeper(mark(tmp_path))
    try:
        assert owner.stdout is not None
        with owner.stdout:
            assert owner.stdout.readline() == b"up\n"
        owner.kill()
        assert ours.wait(10) == -9
    finally:
        for process in (owner, ours):
            process.kill()
            process.wait()
