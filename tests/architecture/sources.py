"""What the architecture tests look at: the files of the repository, parsed once."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("camp", "controlplane", "tui")


@cache
def files() -> tuple[Path, ...]:
    """Every file that is, or is about to be, under version control; relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = (Path(name) for name in listed.split("\0") if name)
    return tuple(name for name in names if (ROOT / name).is_file())


def python_files(*under: str) -> list[Path]:
    return [name for name in files() if name.suffix == ".py" and name.parts[0] in under]


def documents() -> list[Path]:
    return [name for name in files() if name.suffix == ".md"]


def text(name: Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


@cache
def tree(name: Path) -> ast.Module:
    return ast.parse(text(name))


def module_name(name: Path) -> str:
    parts = name.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
