"""Real registries for tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.waiting import wait_until

DEADLINE_S = 20


@contextmanager
def registry_at(address: str, data: Path) -> Iterator[str]:
    """A registry that answers at `address` (HOST:PORT) with the images below `data`."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is missing. Run once: sudo containers/base/engine.sh install"
    name = address.replace(":", "-")
    config, log = data / f"{name}.yml", data / f"{name}.log"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {data}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with log.open("wb") as written:
        process = subprocess.Popen([program, "serve", str(config)], stdout=written, stderr=written)
    try:
        assert wait_until(lambda: _answers(f"http://{address}/v2/"), DEADLINE_S), log.read_text()
        yield address
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
