"""What images are built from, and what their builders say."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.process.bundle_build import version_in
from controlplane.demo.images import Builder
from controlplane.demo.stage import DemoFailed

VERSION_FILE = '__version__ = "0.1.0"\n'


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def checkout(root: Path, build: str) -> Path:
    """A tree with scripts that stand in for the real ones."""
    script(root / "containers" / "base" / "base-image.sh", "echo base:1")
    script(root / "containers" / "build.sh", build)
    for folder in ("camp", "controlplane", "migrations"):
        (root / folder).mkdir()
    (root / "camp" / "__init__.py").write_text(VERSION_FILE)
    for name in ("pyproject.toml", "uv.lock", ".dockerignore"):
        (root / name).write_text("")
    return root


def builder(root: Path, folder: Path, said: list[str]) -> Builder:
    return Builder(root, "127.0.0.1:5000/e/camp", folder / "logs" / "images.log", {}, said.append)


def test_each_version_is_built_from_a_changed_copy_on_one_base(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    root = checkout(
        tmp_path / "root",
        f'echo "$1 $BASE_IMAGE" >> {kept}/calls; cp -r "$2" {kept}/"${{1##*:}}"',
    )
    seen: list[Path] = []
    builder(root, tmp_path, []).build({"1.0.0": seen.append, "1.1.0": seen.append})
    assert (kept / "calls").read_text().splitlines() == [
        "127.0.0.1:5000/e/camp:1.0.0 base:1",
        "127.0.0.1:5000/e/camp:1.1.0 base:1",
    ]
    assert version_in(kept / "1.1.0") == "1.1.0"
    assert (kept / "1.0.0" / "containers" / "build.sh").exists()
    assert version_in(root) == "0.1.0"
    assert not any(tree.exists() for tree in seen)


def test_failed_build_is_told_with_its_last_words(tmp_path: Path) -> None:
    root = checkout(tmp_path / "root", "echo no space left >&2; exit 1")
    with pytest.raises(DemoFailed, match="no space left"):
        builder(root, tmp_path, []).build({"1.0.0": lambda _: None})


def test_steps_of_a_build_are_told_as_they_come(tmp_path: Path) -> None:
    said: list[str] = []
    root = checkout(tmp_path / "root", "echo 'Step 3/9 : COPY camp camp'")
    builder(root, tmp_path, said).build({"1.0.0": lambda _: None})
    assert said == ["Building 1.0.0: Step 3/9 : COPY camp camp", "The image of 1.0.0 is built"]
