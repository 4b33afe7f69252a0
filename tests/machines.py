"""Hosts on one machine: each a network namespace with an address and a Docker engine of its own.

They meet on a bridge, as machines of one network do. Everything ends with the block.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from controlplane.embedded.kept import Bridge
from tests.waiting import wait_until

START_DEADLINE_S = 60.0
COMMAND_LIMIT_S = 30
STOP_LIMIT_S = 30


@dataclass(frozen=True)
class Machine:
    """One host; `docker` speaks with its engine, whose socket lies at `socket`."""

    name: str
    address: str
    socket: Path
    docker: docker.DockerClient
    link: str

    def cut_off(self) -> None:
        """Pull the network cable."""
        _run("ip", "link", "set", self.link, "down")

    def rejoin(self) -> None:
        _run("ip", "link", "set", self.link, "up")


@dataclass(frozen=True)
class Yard:
    """The machines, and where this one meets them."""

    bridge: Bridge
    machines: tuple[Machine, ...]


@contextmanager
def yard(names: tuple[str, ...], registry_port: int) -> Iterator[Yard]:
    """Bring machines up that trust a registry at the bridge's address. Needs root."""
    assert os.geteuid() == 0, "Network namespaces need root: run the suite as root."
    mark, octet = secrets.token_hex(2), 64 + secrets.randbelow(128)
    bridge = Bridge(f"10.77.{octet}.1", f"10.77.{octet}.0/24")
    # Not pytest's folder: a socket's path has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="camp-yard-"))
    engines: list[subprocess.Popen[bytes]] = []
    try:
        _run("ip", "link", "add", f"cb{mark}", "type", "bridge")
        _run("ip", "address", "add", f"{bridge.address}/24", "dev", f"cb{mark}")
        _run("ip", "link", "set", f"cb{mark}", "up")
        begun: list[tuple[str, str, Path, str]] = []
        for number, name in enumerate(names, 1):
            space, link = f"c{mark}{number}", f"cv{mark}{number}"
            address = f"10.77.{octet}.{10 + number}"
            _connect(space, link, f"cb{mark}", address, bridge.address)
            home = folder / name
            home.mkdir()
            registry = f"{bridge.address}:{registry_port}"
            engines.append(_engine(space, home, f"172.2{number}.0.1/24", registry))
            begun.append((name, address, home / "docker.sock", link))
        machines = [
            Machine(name, address, path, _connected(path), link)
            for name, address, path, link in begun
        ]
        yield Yard(bridge, tuple(machines))
    finally:
        _end(engines)
        for number in range(1, len(names) + 1):
            _try("ip", "netns", "delete", f"c{mark}{number}")
        _try("ip", "link", "delete", f"cb{mark}")
        _remove(folder)


def _connect(space: str, link: str, bridge: str, address: str, gateway: str) -> None:
    _run("ip", "netns", "add", space)
    _run("ip", "link", "add", link, "type", "veth", "peer", "name", "up0", "netns", space)
    _run("ip", "link", "set", link, "master", bridge, "up")
    inside = ("ip", "-n", space)
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "address", "add", f"{address}/24", "dev", "up0")
    _run(*inside, "link", "set", "up0", "up")
    _run(*inside, "route", "add", "default", "via", gateway)


def _engine(space: str, home: Path, subnet: str, registry: str) -> subprocess.Popen[bytes]:
    # `ip netns exec` would mount /sys anew, without the control groups that containers need.
    command = [
        *("nsenter", f"--net=/run/netns/{space}", "dockerd", "--bip", subnet),
        *("--data-root", f"{home}/data", "--exec-root", f"{home}/exec"),
        *("--pidfile", f"{home}/pid", "-H", f"unix://{home}/docker.sock"),
        *("--insecure-registry", registry),
    ]
    with (home / "log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _connected(path: Path) -> docker.DockerClient:
    assert wait_until(lambda: _answers(path), START_DEADLINE_S), path.with_name("log").read_text()[
        -3000:
    ]
    return docker.DockerClient(f"unix://{path}", timeout=120)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.exists() and probe.connect_ex(str(path)) == 0


def _end(engines: list[subprocess.Popen[bytes]]) -> None:
    for engine in engines:
        engine.send_signal(signal.SIGTERM)
    for engine in engines:
        try:
            engine.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()


def _remove(folder: Path) -> None:
    """Engines leave their namespaces and, when killed, containers' roots mounted."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted(mounted, reverse=True):
        if place.startswith(f"{folder}/"):
            _try("umount", "-l", place)
    shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_LIMIT_S)


def _try(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True, timeout=COMMAND_LIMIT_S)
