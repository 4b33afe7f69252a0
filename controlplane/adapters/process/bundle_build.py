"""Builds release bundles from a source tree; the same tree gives the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util import CommandError

from controlplane.adapters.process.bundle import Manifest, write
from controlplane.domain.errors import BundleError

SOURCES = ("camp", "controlplane", "migrations", "pyproject.toml", "README.md", "LICENSE")
BUILD_DEADLINE_S = 120.0
GIT_DEADLINE_S = 10.0
# 2020-02-02, hatchling's own default; zip cannot say dates before 1980.
UNDATED = 1_580_601_600
VERSION_LINE = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
VERSION = re.compile(r"[0-9]+(\.[0-9]+)*[0-9A-Za-z.+]*")


def build(tree: Path, out: Path, *, version: str | None = None) -> Path:
    """Build the tree's release into the folder `out`, as `camp-VERSION.zip`; where it lies.

    `version` builds it under another version than the one in the tree. Raises BundleError.
    """
    if not (tree / "pyproject.toml").is_file():
        raise BundleError(
            f"{tree} has no pyproject.toml; run `camp release build` in a checkout of camp,"
            " or name one."
        )
    revision, created_at = _history(tree)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="camp-build-") as name:
        # Building a copy keeps the checkout clean, and ignore files above it have no say.
        copy = copy_sources(tree, Path(name) / "tree")
        if version is not None:
            set_version(copy, version)
        wheel = _wheel(copy, Path(name), created_at)
        manifest = _manifest(copy, revision, created_at)
        staged = out / f".camp-{manifest.version}.{os.getpid()}"
        write(wheel, manifest, staged)
    return staged.replace(out / f"camp-{manifest.version}.zip")


def describe(tree: Path) -> Manifest:
    """What a release made of the tree says of itself. Raises BundleError."""
    return _manifest(tree, *_history(tree))


def _manifest(tree: Path, revision: str, created_at: int) -> Manifest:
    head = schema_head(tree)
    return Manifest(
        version=version_in(tree),
        revision=revision,
        schema_head=head,
        schema_min=_schema_min(tree) or head,
        created_at=created_at,
    )


def copy_sources(tree: Path, into: Path) -> Path:
    """Copy what a wheel is made of, and nothing else."""
    into.mkdir(parents=True)
    for name in SOURCES:
        source = tree / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copyfile(source, into / name)
    return into


def version_in(tree: Path) -> str:
    """The version that the tree's code reports of itself. Raises BundleError."""
    found = VERSION_LINE.search(_version_file(tree).read_text("utf-8"))
    if found is None:
        raise BundleError(f'{_version_file(tree)} has no line `__version__ = "…"`; write one.')
    return found[1]


def set_version(tree: Path, version: str) -> None:
    """Write a version into the one place it is kept. Raises BundleError."""
    if not VERSION.fullmatch(version):
        raise BundleError(f"{version!r} is no version; use numbers and dots, as in 1.2.0.")
    old, file = version_in(tree), _version_file(tree)
    line = '__version__ = "{}"'
    file.write_text(
        file.read_text("utf-8").replace(line.format(old), line.format(version)), "utf-8"
    )


def _version_file(tree: Path) -> Path:
    return tree / "camp" / "__init__.py"


def _wheel(tree: Path, out: Path, created_at: int) -> Path:
    if find_spec("hatchling") is None:
        raise BundleError("Building needs hatchling; install it with `pip install hatchling`.")
    try:
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
            cwd=tree,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(created_at)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"No wheel was built within {BUILD_DEADLINE_S:g} s.") from error
    wheels = list(out.glob("*.whl"))
    if ran.returncode != 0 or len(wheels) != 1:
        said = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-1:] or ["no reason given"]
        raise BundleError(f"The wheel could not be built: {said[0]}")
    return wheels[0]


def schema_head(tree: Path) -> str:
    """The newest revision of the tree's own migrations. Raises BundleError."""
    try:
        heads = ScriptDirectory(str(tree / "migrations")).get_heads()
    except (CommandError, SyntaxError, ImportError) as error:
        raise BundleError(f"The migrations in the tree cannot be read: {error}") from error
    if len(heads) != 1:
        raise BundleError(
            f"The migrations have {len(heads)} newest revisions ({', '.join(heads)});"
            " a release needs exactly one: give one of them the other as its down_revision."
        )
    return heads[0]


def _schema_min(tree: Path) -> str | None:
    """`[tool.camp] schema-min`: the oldest schema it can serve on; without it, only its own."""
    with (tree / "pyproject.toml").open("rb") as file:
        tool = tomllib.load(file).get("tool", {})
    found = tool.get("camp", {}).get("schema-min")
    return None if found is None else str(found)


def _history(tree: Path) -> tuple[str, int]:
    """The tree's git revision ("" outside of git, "+" behind it: with changes) and its date."""
    dated = os.environ.get("SOURCE_DATE_EPOCH", "")
    date = int(dated) if dated.isdigit() else UNDATED
    top = _git(tree, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != tree.resolve():
        return "", date
    revision, _, committed = _git(tree, "log", "-1", "--format=%H %ct").partition(" ")
    if not committed:
        return "", date
    changed = _git(tree, "status", "--porcelain", "--", *SOURCES)
    return f"{revision}{'+' if changed else ''}", date if dated.isdigit() else int(committed)


def _git(tree: Path, *arguments: str) -> str:
    try:
        ran = subprocess.run(
            ["git", "-C", str(tree), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
