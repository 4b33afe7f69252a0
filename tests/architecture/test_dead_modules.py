"""Every module is reached from another one, or is itself an entry point."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.sources import PACKAGES, module_name, python_files, tree

# Started by name: `python -m …`, the console script, alembic.
ENTRY_POINTS = {"camp.__main__", "controlplane.embedded.servers"}


def imported(name: Path) -> Iterator[str]:
    """Yield every dotted name that a file imports, or names in a string (`camp.asgi:create`)."""
    for node in ast.walk(tree(name)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(value)):
                yield value.partition(":")[0]


def test_no_module_is_dead() -> None:
    names = python_files(*PACKAGES, "migrations")
    used = {wanted for name in names for wanted in imported(name) if wanted != module_name(name)}
    modules = {module_name(name) for name in names if name.name != "__init__.py"}
    migrations = {module for module in modules if module.startswith("migrations.")}
    assert sorted(modules - used - migrations - ENTRY_POINTS) == []
