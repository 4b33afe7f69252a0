"""What an unpacked bundle was made of, so that a later start notices bytes that have changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

SEAL = "seal.sha256"


def seal(tree: Path) -> None:
    """Write down the hash of every file in the tree."""
    lines = [f"{_hash(file)}  {file.relative_to(tree)}\n" for file in _files(tree)]
    (tree / SEAL).write_text("".join(lines), encoding="utf-8")


def broken(tree: Path) -> str:
    """The first sealed file that is not as it was; empty while all are, or none was sealed."""
    try:
        lines = (tree / SEAL).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ""  # unpacked by an older agent
    for line in lines:
        held, _, name = line.partition("  ")
        try:
            if _hash(tree / name) != held:
                return name
        except OSError:
            return name
    return ""


def _files(tree: Path) -> list[Path]:
    return sorted(file for file in tree.rglob("*") if file.is_file() and file.name != SEAL)


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
