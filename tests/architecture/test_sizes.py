"""Files and functions stay small enough to hold one idea."""

from __future__ import annotations

import ast

from tests.architecture.sources import PACKAGES, python_files, text, tree

FILE_LINES = 400
FUNCTION_LINES = 60


def test_no_source_file_is_longer_than_400_lines() -> None:
    code = python_files(*PACKAGES, "benchmarks", "migrations", "scripts")
    code += [name for name in python_files("tests") if not name.name.startswith("test_")]
    sizes = {str(name): len(text(name).splitlines()) for name in code}
    assert {name: size for name, size in sizes.items() if size > FILE_LINES} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = {
        f"{name}:{node.lineno} {node.name}": length
        for name in python_files(*PACKAGES)
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    }
    assert long == {}
