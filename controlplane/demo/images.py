"""The demo's releases as images: built as users build them, and pushed to a registry."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import docker

from controlplane.adapters.process.bundle_build import copy_sources, set_version
from controlplane.demo.stage import DemoFailed
from controlplane.embedded.kept import LOOPBACK, Server, made, start_server, tail

Change = Callable[[Path], None]
# Beside what a wheel is made of.
FOR_IMAGES = ("uv.lock", ".dockerignore", "containers")
REGISTRY = "docker-registry"
PROBE_TIMEOUT_S = 1.0
TELL_INTERVAL_S = 3.0
REGISTRY_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{data}"}}}}
http: {{addr: "{address}"}}
"""


def start_registry(folder: Path) -> Server:
    """Start an empty registry on loopback, which every engine trusts without TLS."""
    folder = made(folder)
    config = folder / "config.yml"

    def command(ports: Sequence[int]) -> list[str]:
        address = f"{LOOPBACK}:{ports[0]}"
        config.write_text(REGISTRY_CONFIG.format(data=folder / "data", address=address))
        return [shutil.which(REGISTRY) or REGISTRY, "serve", str(config)]

    return start_server(
        "The registry", folder / "registry.log", command, _registry_answers, ports=[None]
    )


class Builder:
    """Builds images named `repository` from changed copies of the checkout at `root`.

    Build processes are given `environ` on top of ours; what they say goes to `log`.
    """

    def __init__(
        self,
        root: Path,
        repository: str,
        log: Path,
        environ: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._root, self._repository, self._log, self._say = root, repository, log, say
        # The scripts call `python`: ours, with what reading the migrations takes.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._environ = os.environ | environ | {"PATH": path}
        self._told = 0.0

    def build(self, changes: Mapping[str, Change]) -> None:
        """One image a version, tagged with it. Raises DemoFailed."""
        self._log.parent.mkdir(exist_ok=True)
        script = self._root / "containers" / "base" / "base-image.sh"
        self._environ["BASE_IMAGE"] = self._run("base image", [str(script)])[-1]
        first, *others = changes
        self._build(first, changes[first])
        # The first one brought the layers that all share.
        with ThreadPoolExecutor(max(1, len(others))) as pool:
            list(pool.map(lambda version: self._build(version, changes[version]), others))

    def _build(self, version: str, change: Change) -> None:
        with tempfile.TemporaryDirectory(prefix="camp-demo-") as name:
            tree = copy_sources(self._root, Path(name) / "tree")
            for entry in FOR_IMAGES:
                source = self._root / entry
                copy = shutil.copytree if source.is_dir() else shutil.copyfile
                copy(source, tree / entry)
            change(tree)
            set_version(tree, version)
            script = self._root / "containers" / "build.sh"
            self._run(version, [str(script), f"{self._repository}:{version}", str(tree)])
        self._say(f"The image of {version} is built")

    def _run(self, what: str, command: list[str]) -> list[str]:
        """What it wrote to standard output; both streams go to the log."""
        with (
            self._log.open("ab") as log,
            subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            lines = list(self._followed(what, process.stdout))
        if process.returncode:
            raise DemoFailed(
                f"Building the {what} failed; {self._log} ends with:\n{tail(self._log)}"
            )
        return lines

    def _followed(self, what: str, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            with self._log.open("a") as log:
                log.write(line)
            now = time.monotonic()
            if line.startswith("Step ") and now - self._told > TELL_INTERVAL_S:
                self._told = now
                self._say(f"Building {what}: {line.strip()}")
            yield line.strip()


def push(client: docker.APIClient, repository: str, version: str) -> None:
    """Push one tag. Raises DemoFailed."""
    for line in client.push(repository, tag=version, stream=True, decode=True):
        if "error" in line:
            raise DemoFailed(f"{repository}:{version} could not be pushed: {line['error']}")


def _registry_answers(ports: Sequence[int]) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, ports[0], timeout=PROBE_TIMEOUT_S)
    try:
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/v2/")
            return connection.getresponse().status == http.client.OK
        return False
    finally:
        connection.close()
