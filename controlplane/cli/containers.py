"""The options of `camp agent` that make instances containers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from controlplane.cli.common import Finite
from controlplane.domain.errors import Invalid

if TYPE_CHECKING:
    from controlplane.adapters.docker.container import Placement

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Containers:
    """What was asked for; `memory` as Docker reads it, such as 512m."""

    env_file: Path
    network: str
    cpus: float | None
    memory: str | None
    volumes: tuple[str, ...]

    def arguments(self) -> list[str]:
        """The options that ask for the same again, from any folder."""
        given = ["--runtime", "docker", "--env-file", str(self.env_file.absolute())]
        given += ["--network", self.network] if self.network else []
        given += ["--cpus", f"{self.cpus:g}"] if self.cpus else []
        given += ["--memory", self.memory] if self.memory else []
        for volume in self.volumes:
            given += ["--volume", volume]
        return given

    def placement(
        self, environment: str, host: str, address: str, folder: Path, token: str
    ) -> Placement:
        """Where and how a host's containers run. Raises Invalid."""
        from controlplane.adapters.docker.container import Placement, size_bytes
        from controlplane.adapters.host.memory import FileMemory

        return Placement(
            environment=environment,
            host=host,
            address=address,
            env_file=self.env_file.resolve(),
            environ={"CAMP_AGENT_TOKEN": token} if token else {},
            network=self.network,
            cpus=self.cpus,
            memory_bytes=size_bytes(self.memory) if self.memory else None,
            volumes=self.volumes,
            # Read again for each container: it is the agent who writes the file.
            epoch=lambda: FileMemory(folder / "epoch").epoch(),
        )


def runtime_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command --runtime and what belongs to it as `containers`: None for processes."""

    @click.option(
        "--runtime",
        type=click.Choice(["process", "docker"]),
        default="process",
        show_default=True,
        help="Run instances as processes, or as containers of DOCKER_HOST's engine.",
    )
    @click.option(
        "--env-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="docker: NAME=VALUE lines that containers start with; mode 0600.",
    )
    @click.option("--network", default="", help="docker: reach containers in this network.")
    @click.option("--cpus", type=Finite(min=0.01), help="docker: CPUs of a container.")
    @click.option("--memory", help="docker: memory of a container, such as 512m.")
    @click.option(
        "--volume",
        "volumes",
        multiple=True,
        help="docker: NAME:/PATH or /FOLDER:/PATH, mounted in each instance; may be repeated.",
    )
    @wraps(command)
    def with_runtime(
        *args: Any,
        runtime: str,
        env_file: Path | None,
        network: str,
        cpus: float | None,
        memory: str | None,
        volumes: tuple[str, ...],
        **rest: Any,
    ) -> T:
        containers = None
        if runtime == "docker":
            containers = Containers(_given(env_file), network, cpus, memory, volumes)
        elif env_file or network or cpus or memory or volumes:
            raise Invalid(
                "--env-file, --network, --cpus, --memory and --volume are for containers."
                " Add --runtime docker or leave them out."
            )
        return command(*args, containers=containers, **rest)

    return with_runtime


def _given(env_file: Path | None) -> Path:
    if env_file is None:
        raise Invalid(
            "With --runtime docker, --env-file must say what containers start with, such as"
            " DATABASE_URL and REDIS_URL as they reach them. Give a file of mode 0600."
        )
    return env_file
