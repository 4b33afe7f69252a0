"""Words that must not be in the tree, and what the documents say that must be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.sources import PACKAGES, ROOT, documents, files, python_files, text, tree

# This file names what it forbids.
HERE = Path("tests/architecture/test_words.py")
MAY_SLEEP = Path("tests/waiting.py")
MACHINE_PATH = re.compile(r"(?<![\w.}$-])/(?:work|root|home/\w+|Users/\w+|tmp)/[\w.-]")
REGISTRY = re.compile(r"\b(?:pypi\.org|pythonhosted\.org|test\.pypi\.org|registry\.npmjs\.org)\b")
MOVING_TAG = re.compile(r"[\w/]:latest\b")
TEST = re.compile(r"`(test_\w+)`")
QUOTED = re.compile(r"`([^`\s]+)`")
VARIABLE = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`")


def hits(pattern: re.Pattern[str], names: list[Path]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name in names
        if name != HERE
        for number, line in enumerate(text(name).splitlines(), 1)
        if pattern.search(line)
    ]


def everything_but_the_lock() -> list[Path]:
    return [name for name in files() if name.name != "uv.lock"]


def test_no_path_of_somebodys_machine_is_in_the_tree() -> None:
    assert hits(MACHINE_PATH, everything_but_the_lock()) == []


def test_only_the_lock_file_names_a_registry() -> None:
    assert hits(REGISTRY, everything_but_the_lock()) == []


def test_no_image_is_named_by_a_tag_that_moves() -> None:
    prose = documents()
    assert hits(MOVING_TAG, [name for name in files() if name not in prose]) == []


def test_tables_come_from_migrations_only() -> None:
    assert hits(re.compile(r"\bcreate_all\b"), python_files(*PACKAGES, "tests", "migrations")) == []


def sleeps(name: Path) -> Iterator[int]:
    """Yield the lines that sleep; `asyncio.sleep(0)` only lets others run."""
    for node in ast.walk(tree(name)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="time" | "asyncio" | "anyio"), attr="sleep"),
                args=[ast.Constant(value=0)],
            ):
                continue
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="time" | "asyncio" | "anyio"), attr="sleep")
            ):
                yield node.lineno


def test_tests_wait_for_conditions_and_never_just_sleep() -> None:
    # A fake may take its time (a stream at its own pace); a test may not.
    fakes = Path("tests/fakes")
    tests = [name for name in python_files("tests") if not name.is_relative_to(fakes)]
    names = [name for name in tests if name != MAY_SLEEP]
    assert [f"{name}:{line}" for name in names for line in sleeps(name)] == []


def quoted_paths() -> Iterator[tuple[Path, str]]:
    tops = {name.parts[0] for name in files() if len(name.parts) > 1}
    for name in documents():
        for quoted in QUOTED.findall(text(name)):
            path = quoted.removeprefix("./").partition(":")[0]
            if path.partition("/")[0] in tops and re.fullmatch(r"[\w./-]+/[\w./-]*", path):
                yield name, path


def test_paths_quoted_in_documents_exist() -> None:
    assert [(str(name), path) for name, path in quoted_paths() if not (ROOT / path).exists()] == []


def test_tests_named_in_documents_exist() -> None:
    code = "\n".join(text(name) for name in python_files("tests"))
    named = {(str(name), test) for name in documents() for test in TEST.findall(text(name))}
    assert sorted((name, test) for name, test in named if f"def {test}(" not in code) == []


def test_environment_variables_in_documents_are_read_somewhere() -> None:
    code = "\n".join(
        text(name)
        for name in files()
        if name.suffix in {".py", ".toml", ".sh"} or name.suffix == ""
    )
    named = {(str(name), word) for name in documents() for word in VARIABLE.findall(text(name))}
    assert sorted((name, word) for name, word in named if word not in code) == []
