"""Finding our containers on an engine, and reading what they wrote."""

from __future__ import annotations

from typing import Any

import docker
from docker.errors import NotFound

from controlplane.adapters.docker_container import Container, Placement, parsed
from controlplane.adapters.docker_engine import NOT_FOUND, epoch_s, passing

LAST_LINES = 20
# The engine may read a line just after the exit, and starts again after 0.1 s at the earliest.
READ_S = 0.05


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
    return _lines(client, container, tail=lines) if lines > 0 else ()


def last_words(client: docker.APIClient, container: Container) -> str:
    """The last line, before the end if it has ended, that is not empty; or nothing.

    Of a failure that of standard error: the engine reads each stream by itself, so that the order
    of their lines is not the order in which they were written. And it may have started the
    container again since we asked, so that its log goes on.
    """
    until = None if container.alive else epoch_s(container.ended) + READ_S
    for stdout in (False, True) if container.exit_code else (True,):
        found = _lines(client, container, tail=LAST_LINES, until=until, stdout=stdout)
        words = next((line.strip() for line in reversed(found) if line.strip()), "")
        if words:
            return words
    return ""


def _lines(client: docker.APIClient, container: Container, **options: Any) -> tuple[str, ...]:
    text = b""
    if not container.never_started:
        with passing(NOT_FOUND):
            text = client.logs(container.id, **options)
    return tuple(text.decode("utf-8", "replace").splitlines())
