"""Finding our containers on an engine, and reading what they wrote."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import NotFound

from controlplane.adapters.docker.container import Container, Placement, parsed
from controlplane.adapters.docker.engine import NOT_FOUND, epoch_s, passing

LAST_LINES = 20
# The engine may read a line just after the exit, and starts again after 0.1 s at the earliest.
READ_S = 0.05
# A list says "Up 40 seconds". One that was up for longer than VALID_S and has started again since
# says something else, so that a look younger than that still holds when the words are the same.
VALID_S = 2.0
UP_FOR_LONG = re.compile(r"Up (?!Less)(?!(?:a|\d|one) seconds?\b)")


def containers(
    client: docker.APIClient, placement: Placement, *labels: str
) -> tuple[Container, ...]:
    """All of this host's containers, alive or not, that carry these labels (`name[=value]`)."""
    looked = (inspected(client, each["Id"]) for each in _listed(client, placement, *labels))
    return tuple(each for each in looked if each is not None)


@dataclass(frozen=True, slots=True)
class Looked:
    """A container, when that was seen, and what the list said of it then."""

    words: tuple[str, str, list[str]]
    at: float
    container: Container


@dataclass(slots=True)
class Lately:
    """Looks at the containers that carry `label`, and inspects again only what has changed.

    To inspect costs an engine more than to list, and agents look ten times a second.
    """

    placement: Placement
    label: str
    looked: dict[str, Looked] = field(default_factory=dict)

    def containers(self, client: docker.APIClient) -> tuple[Container, ...]:
        """As `containers`."""
        now = time.monotonic()
        found = {}
        for each in _listed(client, self.placement, self.label):
            words = (each["State"], each["Status"], each["Names"])
            known = self.looked.get(each["Id"])
            if known and known.words == words and now - known.at < VALID_S:
                found[each["Id"]] = known
            elif container := inspected(client, each["Id"]):
                found[each["Id"]] = Looked(words, now, container)
        self.looked = {
            id_: looked
            for id_, looked in found.items()
            if looked.container.alive and UP_FOR_LONG.match(looked.words[1])
        }
        return tuple(looked.container for looked in found.values())


def _listed(client: docker.APIClient, placement: Placement, *labels: str) -> list[dict[str, Any]]:
    wanted = [f"{name}={value}" for name, value in placement.labels.items()]
    found: list[dict[str, Any]] = client.containers(all=True, filters={"label": [*wanted, *labels]})
    return found


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
