"""What a container of ours is made of, and what one says of itself: pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.adapters.docker import env_file
from controlplane.adapters.host.exits import how_ended
from controlplane.domain.errors import Invalid
from controlplane.domain.goals import Job
from controlplane.domain.model import Release, Spec

# Inside of every container; outside, each slot has a port of its own.
PORT = 8000
LOG_MAX_SIZE = "10m"
LOG_MAX_FILES = "3"
SCRATCH = "size=64m"
OUT_OF_MEMORY = "ended because it used more memory than its limit"
# What is said to each container by itself, whatever the host's file says.
OWN = frozenset({"CAMP_DIGEST", "CAMP_CONFIG_HASH", "CAMP_INSTANCE", "CAMP_JOB", "HOST", "PORT"})
LEAST_MEMORY_BYTES = 6 << 20
ALIVE = frozenset({"running", "paused"})
NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
VOLUME = re.compile(r"(?:/[^:]+|[a-zA-Z0-9][a-zA-Z0-9_.-]+):/[^:]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where containers run and with what.

    Edges reach them at `address`, each on a port of its own, or, with `network`, at the container's
    address in that network. `env_file` holds their secrets; `environ` goes below it. `epoch` tells
    the leader whose wish is being carried out, for the label only.
    """

    environment: str
    host: str
    address: str
    env_file: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    cpus: float | None = None
    memory_bytes: int | None = None
    volumes: tuple[str, ...] = ()
    epoch: Callable[[], int] = lambda: 0

    @property
    def prefix(self) -> str:
        return f"camp-{self.environment}.{self.host}"

    @property
    def images(self) -> str:
        """The repository whose tags mark what this host holds; it is never pushed."""
        return f"camp/{self.environment}/{self.host}"

    @property
    def labels(self) -> dict[str, str]:
        return {"camp.environment": self.environment, "camp.host": self.host}


def check(placement: Placement) -> None:
    """Raises Invalid when containers could not be started with this."""
    for name in (placement.environment, placement.host):
        if not NAME.fullmatch(name):
            raise Invalid(
                f"{name!r} cannot be part of an image's name; with --runtime docker, names of"
                " environments and hosts begin with a letter and do not end with a hyphen."
            )
    for volume in placement.volumes:
        if not VOLUME.fullmatch(volume):
            raise Invalid(
                f"volume: {volume!r} does not do; write NAME:/PATH for a volume of the engine, or"
                " /FOLDER:/PATH for a folder of the host."
            )
    env_file.read(placement.env_file)


def size_bytes(text: str) -> int:
    """512m, 2g or plain bytes, as Docker reads them. Raises Invalid."""
    parts = re.fullmatch(r"(\d+)([bkmg]?)b?", text.strip().lower())
    size = int(parts[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[parts[2]] if parts else 0
    if size < LEAST_MEMORY_BYTES:
        raise Invalid(f"memory: {text!r} is no size of 6m or more; write 512m or 2g.")
    return size


def slot_name(placement: Placement, slot: int) -> str:
    return f"{placement.prefix}-{slot}"


def stopping_name(placement: Placement, slot: int, kill_at: float) -> str:
    """A request to end is kept in the name, since labels cannot change; seconds since 1970."""
    return f"{slot_name(placement, slot)}.stopping.{kill_at:.2f}"


def kill_at(name: str) -> float | None:
    """When the container of that name is to be ended by force, if it was asked to end."""
    _, stopping, moment = name.partition(".stopping.")
    return float(moment) if stopping else None


def job_name(placement: Placement, job_id: str) -> str:
    return f"{placement.prefix}-job-{re.sub(r'[^a-zA-Z0-9_.-]', '.', job_id)}"


def local_tag(placement: Placement, digest: str) -> str:
    return f"{placement.images}:{digest.removeprefix('sha256:')}"


def slot_config(placement: Placement, slot: int, release: Release, port: int) -> dict[str, Any]:
    """An instance, as the engine's API wants it; `port` is the host's, 0 within a network."""
    made = _config(placement, release, ("serve", "--host", "0.0.0.0", "--port", str(PORT)))
    made["Env"] += [f"CAMP_INSTANCE={placement.host}/{slot}", "HOST=0.0.0.0", f"PORT={PORT}"]
    made["Labels"] |= {"camp.slot": str(slot)}
    # After an engine's restart, and should one crash while no agent looks.
    made["HostConfig"]["RestartPolicy"] = {"Name": "unless-stopped"}
    made["HostConfig"]["Binds"] = list(placement.volumes)
    if not placement.network:
        where = {"HostIp": placement.address, "HostPort": str(port)}
        made["Labels"] |= {"camp.address": f"{placement.address}:{port}"}
        made["ExposedPorts"] = {f"{PORT}/tcp": {}}
        made["HostConfig"]["PortBindings"] = {f"{PORT}/tcp": [where]}
    return made


def job_config(placement: Placement, job: Job) -> dict[str, Any]:
    """A one-shot run, as the engine's API wants it."""
    made = _config(placement, job.release, job.command)
    made["Env"] += [f"CAMP_INSTANCE={placement.host}", f"CAMP_JOB={job.id}"]
    made["Labels"] |= {"camp.job": job.id}
    return made


def shared_environ(placement: Placement) -> dict[str, str]:
    """What containers start with and what shall be the same on all hosts. Raises Invalid."""
    given = {**placement.environ, **env_file.read(placement.env_file)}
    return {name: value for name, value in given.items() if name not in OWN}


def _config(placement: Placement, release: Release, command: tuple[str, ...]) -> dict[str, Any]:
    shared = shared_environ(placement)
    environ = {
        **shared,
        "CAMP_DIGEST": release.digest,
        "CAMP_CONFIG_HASH": release.config_hash,
    }
    labels = {
        **placement.labels,
        "camp.release": release.version,
        "camp.digest": release.digest,
        "camp.config": release.config_hash,
        "camp.image": release.image,
        "camp.epoch": str(placement.epoch()),
        "camp.environ": ",".join(sorted(shared)),
    }
    return {
        "Image": local_tag(placement, release.digest),
        "Cmd": list(command),
        "Env": [f"{name}={value}" for name, value in environ.items()],
        "Labels": labels,
        # The agent asks more often, and from where the edges are.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(placement),
    }


def _host_config(placement: Placement) -> dict[str, Any]:
    made: dict[str, Any] = {
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": LOG_MAX_SIZE, "max-file": LOG_MAX_FILES},
        },
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": SCRATCH},  # noqa: S108 - the container's own
    }
    if placement.network:
        made["NetworkMode"] = placement.network
    if placement.cpus is not None:
        made["NanoCpus"] = int(placement.cpus * 1e9)
    if placement.memory_bytes is not None:
        made["Memory"] = placement.memory_bytes
    return made


@dataclass(frozen=True, slots=True)
class Container:
    """What the engine says of one of our containers; stamps as the engine writes them."""

    id: str
    name: str
    labels: Mapping[str, str]
    status: str
    begun: str
    ended: str
    exit_code: int
    error: str
    out_of_memory: bool
    network_address: str
    image: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def alive(self) -> bool:
        return self.status in ALIVE

    @property
    def never_started(self) -> bool:
        return self.status == "created"

    @property
    def slot(self) -> int:
        return int(self.labels["camp.slot"])

    @property
    def spec(self) -> Spec:
        label = self.labels.get
        return Spec(label("camp.release", ""), label("camp.digest", ""), label("camp.config", ""))

    @property
    def address(self) -> str:
        """The published one does not change with a restart; one in a network may."""
        published = self.labels.get("camp.address")
        return published or (f"{self.network_address}:{PORT}" if self.network_address else "")

    @property
    def kill_at(self) -> float | None:
        return kill_at(self.name)


def parsed(inspected: Mapping[str, Any]) -> Container:
    """A container from what `GET /containers/{id}/json` answers."""
    state = inspected["State"]
    networks = inspected["NetworkSettings"].get("Networks") or {}
    addresses = [n.get("IPAddress") for n in networks.values() if n.get("IPAddress")]
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].lstrip("/"),
        labels=inspected["Config"].get("Labels") or {},
        status=state["Status"],
        begun=inspected["Created"] if state["Status"] == "created" else state["StartedAt"],
        ended=state["FinishedAt"],
        exit_code=state["ExitCode"],
        error=" ".join(state.get("Error", "").split()).rstrip("."),
        out_of_memory=state.get("OOMKilled", False),
        network_address=addresses[0] if addresses else "",
        image=inspected.get("Image", ""),
        environ=_shared(inspected["Config"]),
    )


def _shared(config: Mapping[str, Any]) -> dict[str, str]:
    """Of what the engine gave the container, that which came from its host; the rest is the
    image's, or names the instance."""
    names = ((config.get("Labels") or {}).get("camp.environ") or "").split(",")
    pairs = (pair.partition("=") for pair in config.get("Env") or ())
    return {name: value for name, _, value in pairs if name in names}


def digest_of(image: Mapping[str, Any], meant: str) -> str:
    """Which bytes an image is, from what the engine says of it: the digest that was meant, if it
    is one of its own; empty for an image that came from no registry."""
    own = [each.partition("@")[2] for each in image.get("RepoDigests") or ()]
    return meant if meant in own else next(iter(own), "")


def why_ended(container: Container, words: str) -> str:
    """How a container came to its end; `words` is the last line of its log."""
    if container.never_started:
        return f"could not be started: {container.error}" if container.error else "was not started"
    if container.out_of_memory:
        return OUT_OF_MEMORY
    ended = how_ended(container.exit_code)
    said = words or container.error
    return f"{ended}: {said}" if said else ended
