from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from camp.__main__ import main

DATABASE_URL = "postgresql://camp:hunter2@db/camp"


def ran(*arguments: str, **variables: str) -> Result:
    environ = {"ENVIRONMENT": "local", "DATABASE_URL": DATABASE_URL} | variables
    return CliRunner().invoke(main, arguments, env=environ)


def test_complete_settings_are_confirmed() -> None:
    result = ran("settings", "check")
    assert result.exit_code == 0
    assert result.output == "The settings for local are complete.\n"


def test_every_wrong_setting_is_a_line_on_stderr() -> None:
    result = ran("settings", "check", PORT="x", DATABASE_URL="mysql://x/y")
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.stderr.splitlines()] == ["DATABASE_URL", "PORT"]


def test_faults_are_told_as_json_too() -> None:
    assert json.loads(ran("settings", "check", "--json").output) == {
        "complete": True,
        "faults": [],
    }
    result = ran("settings", "check", "--json", PORT="x")
    assert result.exit_code == 1
    assert "PORT" in json.loads(result.output)["faults"][0]


def test_shown_settings_are_json_without_secrets() -> None:
    result = ran("settings", "show", PORT="81")
    assert json.loads(result.output)["PORT"] == 81
    assert "hunter2" not in result.output


@pytest.mark.parametrize("command", [(), ("serve",), ("settings",), ("settings", "check")])
def test_help_has_an_example(command: tuple[str, ...]) -> None:
    result = ran(*command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output


def test_impossible_port_is_a_usage_error() -> None:
    assert ran("serve", "--port", "65536").exit_code == 2
