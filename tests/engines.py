"""Docker engines of a test's own, which it may stop, restart and fill up. They need root."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.waiting import wait_until

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 60.0


@dataclass
class OwnEngine:
    """One engine with a bridge of its own, so that it does not touch another's rules."""

    folder: Path
    bridge: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(self.url, timeout=60)

    def start(self) -> None:
        options = ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        options += ["--pidfile", f"{self.folder}/pid", "-H", self.url, "--bridge", self.bridge]
        options += ["--iptables=false", "--ip6tables=false"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["dockerd", *options], stdout=log, stderr=log)
        assert wait_until(self.answers, START_DEADLINE_S), (self.folder / "log").read_text()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(STOP_DEADLINE_S)
            self.process = None

    def answers(self) -> bool:
        try:
            client = self.client()
        except docker.errors.DockerException:
            return False
        try:
            return bool(client.ping())
        except docker.errors.DockerException:
            return False
        finally:
            client.close()


@contextmanager
def own_engine(size: str = "") -> Iterator[OwnEngine]:
    """A running engine; with `size`, such as 64m, on a disk that holds no more."""
    # Not in the test's folder: the path of an engine's socket may have 104 characters.
    with tempfile.TemporaryDirectory(prefix="camp-", ignore_cleanup_errors=True) as folder:
        yield from _own_engine(Path(folder), size)


def _own_engine(folder: Path, size: str) -> Iterator[OwnEngine]:
    number = secrets.randbelow(250) + 1
    bridge = f"campt{number}"
    _do("ip", "link", "add", bridge, "type", "bridge")
    engine = OwnEngine(folder, bridge)
    try:
        _do("ip", "address", "add", f"10.213.{number}.1/24", "dev", bridge)
        _do("ip", "link", "set", bridge, "up")
        (folder / "data").mkdir(parents=True)
        if size:
            _do("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder / "data"))
        engine.start()
        yield engine
    finally:
        engine.stop()
        if size:
            _do("umount", "--lazy", str(folder / "data"))
        _do("ip", "link", "delete", bridge)


def _do(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30)
