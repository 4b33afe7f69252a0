from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controlplane.adapters.process import bundle
from controlplane.adapters.process.bundle_build import build, set_version, version_in
from controlplane.domain.errors import BundleError

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "camp"
dynamic = ["version"]
[tool.hatch.version]
path = "camp/__init__.py"
[tool.hatch.build.targets.wheel]
packages = ["camp", "migrations"]
"""
STEP = 'revision = "{}"\ndown_revision = {}\nphase = "expand"\n'


def tree_in(folder: Path, more: str = "") -> Path:
    """A small source tree of version 0.1.0 with one migration, 0001."""
    for name in ("camp", "controlplane", "migrations/versions"):
        (folder / name).mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT + more)
    (folder / "camp" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (folder / "migrations" / "__init__.py").write_text("")
    (folder / "migrations" / "env.py").write_text("")
    add_step(folder, "0001", None)
    return folder


def add_step(tree: Path, revision: str, down: str | None) -> None:
    text = STEP.format(revision, repr(down))
    (tree / "migrations" / "versions" / f"{revision}_step.py").write_text(text)


def files_in(tree: Path) -> list[Path]:
    return sorted(tree.rglob("*"))


def test_same_tree_gives_the_same_digest(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    first, second = build(tree, tmp_path / "a"), build(tree, tmp_path / "b")
    assert bundle.digest_of(first) == bundle.digest_of(second)


def test_changed_tree_gives_another_digest(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    first = bundle.digest_of(build(tree, tmp_path / "a"))
    (tree / "camp" / "more.py").write_text("")
    assert bundle.digest_of(build(tree, tmp_path / "b")) != first


def test_release_carries_version_and_schema_of_its_tree(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    add_step(tree, "0002", "0001")
    made = build(tree, tmp_path)
    release = bundle.read(made)
    assert made == tmp_path / "camp-0.1.0.zip"
    assert (release.version, release.schema_head, release.schema_min) == ("0.1.0", "0002", "0002")


def test_tree_can_declare_the_oldest_schema_it_lives_with(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree", '[tool.camp]\nschema-min = "0001"\n')
    add_step(tree, "0002", "0001")
    assert bundle.read(build(tree, tmp_path)).schema_min == "0001"


def test_building_under_another_version_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    before = files_in(tree)
    assert bundle.read(build(tree, tmp_path, version="2.0.0")).version == "2.0.0"
    assert version_in(tree) == "0.1.0"
    assert files_in(tree) == before


def test_revision_is_the_commit_and_says_when_files_were_changed(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    git = ("git", "-C", str(tree), "-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*git, *command], check=True)
    clean = bundle.read(build(tree, tmp_path)).revision
    assert len(clean) == 40
    (tree / "camp" / "more.py").write_text("")
    assert bundle.read(build(tree, tmp_path)).revision == clean + "+"


def test_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no pyproject\.toml"):
        build(tmp_path, tmp_path / "out")


def test_two_newest_revisions_are_refused(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    add_step(tree, "0002a", "0001")
    add_step(tree, "0002b", "0001")
    with pytest.raises(BundleError, match="2 newest revisions"):
        build(tree, tmp_path / "out")


def test_tree_that_gives_no_wheel_is_refused_with_the_reason(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree", "this is no toml")
    with pytest.raises(BundleError, match="The wheel could not be built"):
        build(tree, tmp_path / "out")


@pytest.mark.parametrize("version", ["next", '1"; import os; "', "1.0 beta"])
def test_version_that_is_none_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(BundleError, match="is no version"):
        set_version(tree_in(tmp_path / "tree"), version)


def test_tree_without_a_version_line_is_refused(tmp_path: Path) -> None:
    tree = tree_in(tmp_path / "tree")
    (tree / "camp" / "__init__.py").write_text("")
    with pytest.raises(BundleError, match="has no line"):
        set_version(tree, "1.0.0")
