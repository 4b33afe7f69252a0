"""The systemd unit that `camp agent install-unit` prints, and what else an agent's host needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from controlplane.cli.agent import keep_out_of_git
from controlplane.cli.unit import Unit, rendered
from tests.unit.controlplane.cli.test_commands import camp

PLACE = ("-e", "production", "--host", "host-a", "--folder", "/var/lib/camp")


def test_the_unit_starts_the_agent_with_the_same_options() -> None:
    unit = camp("agent", "install-unit", *PLACE, "--address", "10.0.0.5").stdout
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert start.endswith(
        "/camp agent --environment production --host host-a --folder /var/lib/camp"
        " --address 10.0.0.5"
    )
    assert start.startswith("ExecStart=/")
    # Without this systemd ends every instance together with the agent.
    assert "\nKillMode=process\n" in unit
    assert "docker" not in unit


def test_the_unit_of_containers_waits_for_the_engine() -> None:
    docker = ("--runtime", "docker", "--env-file", "/etc/camp/instances.env", "--memory", "512m")
    unit = camp("agent", "install-unit", *PLACE, *docker).stdout
    assert "docker.service" in unit
    assert "--runtime docker --env-file /etc/camp/instances.env --memory 512m" in unit


def test_what_systemd_would_read_otherwise_is_escaped() -> None:
    unit = Unit(("/opt/my camp", "100%", "a$b", 'say "x"'), "e", "h", "camp", "/etc/x")
    assert 'ExecStart="/opt/my camp" "100%%" "a$$b" "say \\"x\\""\n' in rendered(unit)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "camp-agent.service"
    # Its own user and program need not be on the machine that runs the tests.
    unit = Unit(("/bin/true", "agent"), "production", "host-a", "root", "/dev/null")
    file.write_text(rendered(unit), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "camp-agent.service" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("command", [("agent",), ("agent", "install-unit")])
def test_a_missing_host_is_a_usage_error_that_names_it(command: tuple[str, ...]) -> None:
    result = camp(*command, "-e", "production", "--folder", "x")
    assert result.exit_code == 2
    assert "--host" in result.stderr


def test_an_agents_folder_in_a_checkout_is_no_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "agents" / "host-a"
    keep_out_of_git(folder)
    (folder / "slots").mkdir()
    (folder / "slots" / "1").write_text("some state")
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=20)
    seen = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert seen.stdout == ""
