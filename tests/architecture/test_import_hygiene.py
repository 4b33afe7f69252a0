"""Importing a module opens nothing, starts nothing and reads no environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.architecture.sources import PACKAGES, ROOT, module_name, python_files

# Runs in a process of its own: an audit hook cannot be taken off again.
WATCHER = textwrap.dedent(
    """
    import importlib, json, os, sys

    root, modules = sys.argv[1], sys.argv[2:]
    found = []

    def ours():
        # The nearest caller outside the standard library and the import system.
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            library = name.startswith((sys.base_prefix, "<frozen")) and "site-packages" not in name
            if not library:
                return name if name.startswith(root) and "site-packages" not in name else None
            frame = frame.f_back
        return None

    def hook(event, arguments):
        if event == "socket.bind" and arguments[-1] == ("::1", 0):
            return  # urllib3 asks the kernel whether there is IPv6
        if event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.system"):
            found.append(f"{event} {arguments[-1]!r} by {ours()}")
        elif event == "open" and isinstance(arguments[0], str) and (where := ours()):
            # `python` itself reads our sources: that open has no frame of ours below it.
            if not arguments[0].endswith((".py", ".pyc")) and "__pycache__" not in arguments[0]:
                found.append(f"open {arguments[0]} by {where}")

    class Watched(type(os.environ)):
        def __getitem__(self, key):
            if where := ours():
                found.append(f"environment {key} by {where}")
            return super().__getitem__(key)

    environ = os.environ
    watched = Watched(
        environ._data, environ.encodekey, environ.decodekey, environ.encodevalue,
        environ.decodevalue,
    )
    os.environ = watched
    sys.addaudithook(hook)
    for module in modules:
        importlib.import_module(module)
    print(json.dumps(found))
    """
)


def watch(modules: list[str], root: Path = ROOT) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if "COV" not in name}
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHER, str(root), *modules],
        cwd=root,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_importing_any_module_has_no_effect() -> None:
    assert watch([module_name(name) for name in python_files(*PACKAGES)]) == []


def test_the_watcher_sees_what_a_module_does_at_import(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(
        "import os, pathlib, socket\n"
        "os.environ.get('HOME')\n"
        "pathlib.Path('left').write_text('behind')\n"
        "socket.socket().bind(('127.0.0.1', 0))\n"
    )
    found = watch(["careless"], root=tmp_path)
    assert [line.split()[0] for line in found] == ["environment", "open", "socket.bind"]
