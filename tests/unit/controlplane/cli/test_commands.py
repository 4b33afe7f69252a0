"""Every command explains itself, and every mistake ends in a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from camp import __version__
from camp.__main__ import LAZY_COMMANDS, main

GOOD = """
[environments.local]
hosts = ["host-a"]
edges = ["http://127.0.0.1:8080"]
[environments.local.policy]
max_surge = 1
"""


def camp(*args: str, **environ: str) -> Result:
    clean = {"CAMP_URL": "http://127.0.0.1:1", "CAMP_TOKEN": "t", "DATABASE_URL": ""}
    clean |= {"ENVIRONMENT": "local"} | environ
    return CliRunner().invoke(main, args, env=clean, prog_name="camp")


def every_command() -> Iterator[tuple[str, ...]]:
    context = click.Context(main)

    def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from walk(command, (*path, name))
            else:
                yield (*path, name)

    return walk(main, ())


@pytest.mark.parametrize("path", [*every_command()], ids=" ".join)
def test_every_help_has_an_example(path: tuple[str, ...]) -> None:
    result = camp(*path, "--help")
    assert result.exit_code == 0
    assert "Example: " in result.stdout


@pytest.mark.parametrize("name", ["env", "events", "host", "operator", "release", "rollout"])
def test_the_groups_are_imported_lazily(name: str) -> None:
    assert name in LAZY_COMMANDS


def test_a_good_file_passes_the_dry_run(tmp_path: Path) -> None:
    result = camp("env", "apply", written(tmp_path, GOOD), "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "local: good; nothing was sent\n")


def test_one_environment_may_name_itself(tmp_path: Path) -> None:
    text = 'name = "local"\nhosts = ["a"]\nedges = ["http://e"]\n'
    result = camp("env", "apply", written(tmp_path, text), "--dry-run", "--json")
    assert json.loads(result.stdout)[0]["policy"]["instances_per_host"] == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[environments.local]\nhosts = [\n= 3", "line 3"),
        ('hosts = ["a"]', "has no name"),
        ("environments = 3", "nothing else belongs there"),
        ("environments.x = 3", "must be a table"),
        (GOOD + "[other]\na = 1\n", "move or remove other"),
        (GOOD.replace("max_surge = 1", "max_surge = -1"), "policy.max_surge"),
        (GOOD.replace("max_surge = 1", "max_surge = 0"), "nothing could ever be replaced"),
        (GOOD.replace("max_surge", "max_surg"), "did you mean max_surge"),
        (GOOD + "[environments.local.follow]\nversions = '*'\n", "follow.versions: '*' does not"),
        (GOOD + "[environments.local.follow]\nversions = '*'\n", "follow.image: is missing"),
        (GOOD + "[environments.local.follow]\nimages = 'x'\n", "did you mean image"),
    ],
)
def test_a_wrong_file_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    result = camp("env", "apply", written(tmp_path, text), "--dry-run")
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xff\xfe")
    result = camp("env", "apply", str(file), "--dry-run")
    assert (result.exit_code, "UTF-8" in result.stderr) == (1, True)


def test_problems_are_json_when_asked_for(tmp_path: Path) -> None:
    result = camp("env", "apply", written(tmp_path, "x ="), "--dry-run", "--json")
    problem = json.loads(result.stderr)
    assert (result.exit_code, problem["code"]) == (1, "invalid")
    assert "line 1" in problem["detail"]


@pytest.mark.parametrize(
    "args",
    [
        ("env", "apply", "no-such-file.toml"),
        ("rollout", "start", "local"),
        ("rollout", "rollback", "local"),
        ("rollout", "rollback", "r-20261123-142530-7f3a", "--to", "1", "--reason", "x"),
        ("rollout", "start", "local", "1", "--timeout", "0"),
        ("rollout", "start", "local", "1", "--timeout", "nan"),
        ("rollout", "watch", "local", "--timeout", "inf"),
        ("rollout", "rollback", "local", "--reason", ""),
        ("rollout", "pause", "local", "--reason", " "),
        ("env", "list", "--token", "t\u00f6ken"),
        ("env", "list", "--token", "two words"),
        ("host", "logs", "host-a"),
        ("host", "logs", "host-a/0"),
        ("logs", "local", "--instance", "host-a"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_two(args: tuple[str, ...]) -> None:
    result = camp(*args)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("rollout", "rollback", "local", "--reason", ""), "say in some words why"),
        (("rollout", "watch", "local", "--timeout", "nan"), "nan is no number"),
        (("env", "list", "--token", "t\u00f6ken"), "a token is made of ASCII letters"),
        (("host", "logs", "host-a"), "write HOST/SLOT"),
    ],
)
def test_wrong_usage_names_the_option_and_the_remedy(args: tuple[str, ...], sentence: str) -> None:
    said = " ".join(camp(*args, COLUMNS="200").stderr.split())
    assert sentence in said


def test_the_settings_have_commands_of_their_own() -> None:
    commands = camp("settings", "--help").stdout
    assert "Say what is wrong" in commands
    assert "rollout" not in commands


def test_the_version_is_printed() -> None:
    result = camp("--version")
    assert (result.exit_code, result.stdout) == (0, f"camp, version {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_asks_camp(shell: str) -> None:
    script = camp("completion", shell)
    assert script.exit_code == 0
    assert f"_CAMP_COMPLETE={shell}_complete" in script.stdout
    answer = camp(_CAMP_COMPLETE="bash_complete", COMP_WORDS="camp rollout st", COMP_CWORD="2")
    assert answer.stdout == "plain,start\n"


def test_no_control_plane_is_a_sentence_with_the_address() -> None:
    result = camp("env", "list")
    assert result.exit_code == 1
    assert "No control plane answers at http://127.0.0.1:1" in result.stderr
    assert "camp serve" in result.stderr


def test_a_broken_address_is_a_sentence() -> None:
    result = camp("env", "list", "--url", "nonsense")
    assert result.exit_code == 1
    assert "--url" in result.stderr


def test_a_missing_bundle_is_a_sentence() -> None:
    result = camp("release", "add", "no-such.zip")
    assert result.exit_code == 1
    assert "no-such.zip" in result.stderr


def test_missing_settings_are_named() -> None:
    result = camp("operator", "create", "alice")
    assert result.exit_code == 1
    assert "DATABASE_URL is not set" in result.stderr


def test_a_dead_database_is_a_sentence() -> None:
    result = camp("operator", "create", "alice", DATABASE_URL="postgresql://x@127.0.0.1:1/none")
    assert result.exit_code == 1
    assert "PostgreSQL" in result.stderr
    assert "Traceback" not in result.output


def test_an_agent_without_redis_is_refused(tmp_path: Path) -> None:
    result = camp(
        *("agent", "-e", "local", "--host", "host-a", "--folder", str(tmp_path)),
        DATABASE_URL="postgresql://x@127.0.0.1:1/none",
        REDIS_URL="",
    )
    assert result.exit_code == 1
    assert "REDIS_URL" in result.stderr


def written(folder: Path, text: str) -> str:
    file = folder / "environments.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)
