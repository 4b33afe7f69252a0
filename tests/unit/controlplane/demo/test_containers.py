"""What a demo on a Docker engine says when something is missing, and what it tells containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.demo.containers import Containers
from controlplane.demo.stage import DemoFailed


def program(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


async def test_missing_program_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "docker")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DemoFailed, match=r"docker-registry is not on PATH.*engine.sh install"):
        await Containers(tmp_path, tmp_path).prepare()


async def test_engine_that_does_not_answer_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docker", "docker-registry"):
        program(tmp_path / "bin", name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(DemoFailed, match=r"does not answer.*engine.sh run ./justw demo"):
        await Containers(tmp_path, tmp_path).prepare()


def test_folders_do_not_share_an_environment(tmp_path: Path) -> None:
    first, second = (Containers(tmp_path / name, tmp_path) for name in "ab")
    assert first.environment != second.environment
    assert Containers(tmp_path / "a", tmp_path).environment == first.environment
