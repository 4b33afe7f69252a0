"""Finding our containers on an engine, and reading what they wrote."""

from __future__ import annotations

import docker
from docker.errors import NotFound

from controlplane.adapters.docker_container import Container, Placement, parsed
from controlplane.adapters.docker_engine import NOT_FOUND, passing

LAST_LINES = 20


def containers(
    client: docker.APIClient, placement: Placement, *labels: str
) -> tuple[Container, ...]:
    """All of this host's containers, alive or not, that carry these labels (`name[=value]`)."""
    wanted = [f"{name}={value}" for name, value in placement.labels.items()]
    found = client.containers(all=True, filters={"label": [*wanted, *labels]})
    looked = (inspected(client, each["Id"]) for each in found)
    return tuple(each for each in looked if each is not None)


def inspected(client: docker.APIClient, container_id: str) -> Container | None:
    try:
        return parsed(client.inspect_container(container_id))
    except NotFound:
        return None  # it went between the two questions


def tail(client: docker.APIClient, container: Container, lines: int) -> tuple[str, ...]:
    """The last lines a container wrote."""
    text = b""
    if lines > 0 and not container.never_started:
        with passing(NOT_FOUND):
            text = client.logs(container.id, stdout=True, stderr=True, tail=lines)
    return tuple(text.decode("utf-8", "replace").splitlines())


def last_words(client: docker.APIClient, container: Container) -> str:
    """The last line that is not empty, or nothing."""
    lines = reversed(tail(client, container, LAST_LINES))
    return next((line.strip() for line in lines if line.strip()), "")
