"""Instances as containers of a Docker engine: a release is an image, a slot is a container.

Everything that the next agent must know lies in the engine: labels say what a container is, its
name whether it was asked to end, a local tag which images are held. An agent that leaves takes
nothing with it.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Self

import docker
from docker.errors import APIError, NotFound

from controlplane.adapters.docker import container as docker_container
from controlplane.adapters.docker import look as docker_look
from controlplane.adapters.docker.container import Container, Placement
from controlplane.adapters.docker.engine import (
    CONFLICT,
    NOT_FOUND,
    Engine,
    epoch_s,
    monotonic_s,
    passing,
    said,
)
from controlplane.adapters.docker.images import Images
from controlplane.adapters.docker.jobs import Jobs
from controlplane.adapters.host import lock as host_lock
from controlplane.adapters.process.state import PORTS, free_port
from controlplane.domain.errors import Invalid
from controlplane.domain.goals import Job
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport, JobReport, PullReport
from controlplane.ports.runtime import Running

PORT_ATTEMPTS = 5
PORT_TAKEN = ("already allocated", "address already in use")


class DockerRuntime:
    """The runtime port over one engine; `with` it, so that one agent works for the host.

    `folder` holds only the lock. Raises EngineUnavailable from every method while the engine does
    not answer, and changes nothing then.
    """

    def __init__(self, folder: Path, placement: Placement, engine: Engine) -> None:
        self._folder = folder
        self._placement = placement
        self._engine = engine
        self._images = Images(engine, placement)
        self._jobs = Jobs(engine, placement)
        self._lately = docker_look.Lately(placement, "camp.slot")
        # Slots that could not get a container, and what was found out about the others.
        self._refused: dict[int, Running] = {}
        self._started: dict[tuple[str, str], float] = {}
        self._ended: dict[tuple[str, str], str] = {}
        self._digests: dict[str, str] = {}
        self._lock: IO[str] | None = None

    def open(self) -> Self:
        """Take the host. Raises HostTaken, or Invalid when no container could ever start."""
        docker_container.check(self._placement)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = host_lock.take(self._folder / "lock", self._placement.host)
        return self

    def close(self) -> None:
        """Leave the host to the next agent; every container goes on."""
        self._engine.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def running(self) -> tuple[Running, ...]:
        slots = await self._engine.call(self._look)
        held = {running.slot for running in slots}
        return (*slots, *(r for slot, r in self._refused.items() if slot not in held))

    async def start(self, slot: int, release: Release) -> None:
        refused = await self._engine.call(lambda client: self._start(client, slot, release))
        self._refused.pop(slot, None)
        if refused:
            started = time.monotonic()
            self._refused[slot] = Running(slot, release.spec, "", False, started, detail=refused)

    async def stop(self, slot: int, grace_s: float) -> None:
        self._refused.pop(slot, None)
        await self._engine.call(lambda client: self._stop(client, slot, grace_s))

    async def environ(self) -> Mapping[str, str]:
        return docker_container.shared_environ(self._placement)

    async def pull(self, release: Release) -> None:
        await self._images.pull(release)

    async def images(self) -> tuple[ImageReport, ...]:
        return await self._images.reports()

    async def pulls(self) -> tuple[PullReport, ...]:
        return self._images.pulls()

    async def prune(self, keep: frozenset[str]) -> None:
        held = await self._engine.call(lambda client: self._held(client, keep))
        await self._images.prune(held)

    async def run_once(self, job: Job) -> None:
        missing = await self._engine.call(lambda client: self._missing(client, job.release))
        await self._jobs.begin(job, missing)

    async def jobs(self) -> tuple[JobReport, ...]:
        return await self._jobs.reports()

    async def forget_jobs(self, wanted: frozenset[str]) -> None:
        await self._jobs.forget_ended(wanted)

    async def logs(self, slot: int, lines: int) -> tuple[str, ...]:
        return await self._engine.aside(lambda client: self._tail(client, slot, lines))

    def _slots(self, client: docker.APIClient) -> tuple[Container, ...]:
        return docker_look.containers(client, self._placement, "camp.slot")

    def _find(self, client: docker.APIClient, slot: int) -> Container | None:
        found = docker_look.containers(client, self._placement, f"camp.slot={slot}")
        return found[0] if found else None

    def _look(self, client: docker.APIClient) -> tuple[Running, ...]:
        slots = self._lately.containers(client)
        seen = [self._carried_on(client, container) for container in slots]
        found = [container for container in seen if container is not None]
        births = {(c.id, c.begun) for c in found}
        self._started = {birth: s for birth, s in self._started.items() if birth in births}
        self._ended = {birth: words for birth, words in self._ended.items() if birth in births}
        ids = {container.id for container in found}
        self._digests = {id_: digest for id_, digest in self._digests.items() if id_ in ids}
        return tuple([self._running(client, container) for container in found])

    def _carried_on(self, client: docker.APIClient, container: Container) -> Container | None:
        """The container after what has to be done about it now; None once it is gone."""
        if container.status == "restarting":
            return self._taken_over(client, container)
        if container.kill_at is None:
            return container
        if not container.alive:
            _remove(client, container)
            return None
        if time.time() >= container.kill_at:
            with passing(NOT_FOUND, CONFLICT):
                client.kill(container.id, signal.SIGKILL)
        return container

    def _taken_over(self, client: docker.APIClient, container: Container) -> Container | None:
        """The container, dead, although the engine was about to start it again.

        While an agent is here, how often and when it starts again is the agent's part: otherwise a
        crash at every start would look like one long start.
        """
        words = docker_look.last_words(client, container)
        with passing(NOT_FOUND, CONFLICT):
            client.stop(container.id, timeout=0)
        after = docker_look.inspected(client, container.id)
        if after is not None and not after.alive:
            # The first end is the one to tell of: the engine may have been faster once more.
            told = docker_container.why_ended(container, words)
            self._ended[after.id, after.begun] = told
        return after

    def _running(self, client: docker.APIClient, container: Container) -> Running:
        birth = (container.id, container.begun)
        if birth not in self._started:
            self._started[birth] = monotonic_s(epoch_s(container.begun))
        if not container.alive and birth not in self._ended:
            words = docker_look.last_words(client, container)
            self._ended[birth] = docker_container.why_ended(container, words)
        return Running(
            slot=container.slot,
            spec=container.spec,
            address=container.address,
            alive=container.alive,
            started=self._started[birth],
            stopping=container.kill_at is not None,
            detail="" if container.alive else self._ended[birth],
            digest=self._digest(client, container),
            environ=container.environ,
        )

    def _digest(self, client: docker.APIClient, container: Container) -> str:
        """Whose bytes the engine runs in it, asked once for each container."""
        if container.id not in self._digests:
            try:
                image = client.inspect_image(container.image)
            except NotFound:
                return ""
            meant = container.spec.digest
            self._digests[container.id] = docker_container.digest_of(image, meant)
        return self._digests[container.id]

    def _start(self, client: docker.APIClient, slot: int, release: Release) -> str:
        """Put a new container into the slot; returns why not, if there could be none."""
        held = self._find(client, slot)
        if held is not None and held.alive:
            return ""
        if held is not None:
            _remove(client, held)
        missing = self._missing(client, release)
        if missing:
            return missing
        try:
            for _ in range(PORT_ATTEMPTS):
                failed = self._create(client, slot, release)
                if not any(sign in failed for sign in PORT_TAKEN):
                    break
        except Invalid as error:
            return error.sentence
        except APIError as error:
            return f"The instance could not be started: {said(error)}."
        return failed and f"The instance could not be started: {failed}."

    def _create(self, client: docker.APIClient, slot: int, release: Release) -> str:
        """Make and start one container; returns what the engine has against it, if it has."""
        port = 0 if self._placement.network else self._port(client)
        config = docker_container.slot_config(self._placement, slot, release, port)
        name = docker_container.slot_name(self._placement, slot)
        made = client.create_container_from_config(config, name)
        try:
            client.start(made["Id"])
        except APIError as error:
            client.remove_container(made["Id"], force=True, v=True)
            return said(error)
        return ""

    def _port(self, client: docker.APIClient) -> int:
        """A port of the host that no container of ours has, alive or not."""
        addresses = [container.address.rpartition(":")[2] for container in self._slots(client)]
        taken = frozenset(int(port) for port in addresses if port)
        try:
            return free_port(self._placement.address, taken)
        except OSError:
            # The address is not ours to try, as inside of a container: the engine will tell.
            return random.choice([port for port in PORTS if port not in taken])  # noqa: S311

    def _stop(self, client: docker.APIClient, slot: int, grace_s: float) -> None:
        held = self._find(client, slot)
        if held is None:
            return
        if not held.alive:
            _remove(client, held)
            return
        kill_at, asked = time.time() + grace_s, held.kill_at
        if asked is None or kill_at < asked:
            # Recorded first: a second SIGTERM would end the instance at once.
            name = docker_container.stopping_name(self._placement, slot, kill_at)
            with passing(NOT_FOUND):
                client.rename(held.id, name)
            held = replace(held, name=name)
        if asked is None:
            with passing(NOT_FOUND, CONFLICT):
                client.kill(held.id, signal.SIGTERM)
        self._carried_on(client, held)

    def _missing(self, client: docker.APIClient, release: Release) -> str:
        try:
            client.inspect_image(docker_container.local_tag(self._placement, release.digest))
        except NotFound:
            return f"The bytes of {release.digest} are not on this host; pull them first."
        return ""

    def _held(self, client: docker.APIClient, keep: frozenset[str]) -> frozenset[str]:
        """What must stay: what is kept or runs; ended runs of anything else are removed."""
        running = {c.spec.digest for c in self._slots(client) if c.alive}
        held = keep | running | self._jobs.busy(client)
        self._jobs.forget(client, held)
        return held

    def _tail(self, client: docker.APIClient, slot: int, lines: int) -> tuple[str, ...]:
        held = self._find(client, slot)
        return docker_look.tail(client, held, lines) if held else ()


def _remove(client: docker.APIClient, container: Container) -> None:
    with passing(NOT_FOUND, CONFLICT):
        client.remove_container(container.id, force=True, v=True)
