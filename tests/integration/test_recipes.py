"""Recipes of the justfile, with a stand-in for uv."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JUST = Path(sys.executable).with_name("just")
STAND_IN = """#!/bin/sh
trap 'exit 130' INT
echo up
while :; do read -r _ || exit 1; done
"""


@pytest.mark.parametrize("recipe", ["demo", "servers", "sim", "fuzz"])
def test_ctrl_c_ends_a_recipe_without_an_error_line(recipe: str, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(STAND_IN)
    uv.chmod(0o755)
    with subprocess.Popen(
        [JUST, "--justfile", ROOT / "justfile", recipe],
        env=os.environ | {"UV": str(uv)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as just:
        assert just.stdout is not None
        assert just.stdout.readline() == "up\n"
        os.killpg(just.pid, signal.SIGINT)
        _, said = just.communicate(timeout=20)
    assert "error" not in said
    assert just.returncode == 130
