"""One-shot runs of a release in containers, which stay until they have told how they ended."""

from __future__ import annotations

import time

import docker
from docker.errors import APIError

from controlplane.adapters.docker import look as docker_look
from controlplane.adapters.docker.container import (
    Container,
    Placement,
    job_config,
    job_name,
    why_ended,
)
from controlplane.adapters.docker.engine import CONFLICT, NOT_FOUND, Engine, passing, said
from controlplane.domain.errors import Invalid
from controlplane.domain.goals import Job, JobState
from controlplane.domain.reports import JobReport
from controlplane.ports.runtime import KEPT_RUNS

# How old a look may be at runs of which all have ended; agents look ten times a second.
ENDED_VALID_S = 2.0


class Jobs:
    """The one-shot runs known to one host, each in a container labelled with its id."""

    def __init__(self, engine: Engine, placement: Placement) -> None:
        self._engine = engine
        self._placement = placement
        # What never became a container that ran, and how the others ended.
        self._refused: dict[str, JobReport] = {}
        self._ended: dict[str, JobReport] = {}
        self._seen: tuple[JobReport, ...] = ()
        self._seen_until = 0.0

    async def begin(self, job: Job, missing: str) -> None:
        """Begin a run unless it is known; `missing` says why it cannot run, if it cannot."""
        if job.id in self._refused:
            return
        refused = missing or await self._engine.call(lambda client: self._begin(client, job))
        self._seen_until = 0.0
        if refused:
            self._refused[job.id] = JobReport(job.id, JobState.FAILED, refused)

    async def reports(self) -> tuple[JobReport, ...]:
        if time.monotonic() >= self._seen_until:
            until = time.monotonic() + ENDED_VALID_S
            self._seen = await self._engine.call(self._reports)
            all_ended = all(report.state is not JobState.RUNNING for report in self._seen)
            self._seen_until = until if all_ended else 0.0
        return (*self._seen, *self._refused.values())

    async def forget_ended(self, wanted: frozenset[str]) -> None:
        """Forget ended runs that are not wanted, but for the latest KEPT_RUNS."""
        for job_id in [job_id for job_id in self._refused if job_id not in wanted][:-KEPT_RUNS]:
            del self._refused[job_id]
        await self._engine.call(lambda client: self._forget_ended(client, wanted))
        self._seen_until = 0.0

    def _forget_ended(self, client: docker.APIClient, wanted: frozenset[str]) -> None:
        ended = [
            container
            for container in self._containers(client)
            if not container.alive
            and not container.never_started
            and self._id(container) not in wanted
        ]
        # The engine writes its stamps so that they sort as text.
        for container in sorted(ended, key=lambda each: each.begun)[:-KEPT_RUNS]:
            with passing(NOT_FOUND, CONFLICT):
                client.remove_container(container.id, v=True)
            self._ended.pop(self._id(container), None)

    def busy(self, client: docker.APIClient) -> frozenset[str]:
        """The digests that are being run now."""
        return frozenset(c.spec.digest for c in self._containers(client) if c.alive)

    def forget(self, client: docker.APIClient, keep: frozenset[str]) -> None:
        """Remove ended runs of releases that nobody keeps, since they hold their image."""
        for container in self._containers(client):
            if not container.alive and container.spec.digest not in keep:
                with passing(NOT_FOUND, CONFLICT):
                    client.remove_container(container.id, v=True)
        self._seen_until = 0.0

    def _containers(self, client: docker.APIClient) -> tuple[Container, ...]:
        return docker_look.containers(client, self._placement, "camp.job")

    def _begin(self, client: docker.APIClient, job: Job) -> str:
        """Run it; returns why not, if it could not be begun."""
        known = docker_look.containers(client, self._placement, f"camp.job={job.id}")
        if any(not container.never_started for container in known):
            return ""
        try:
            for container in known:  # made by an agent that died before it began
                client.remove_container(container.id, force=True)
            config = job_config(self._placement, job)
            made = client.create_container_from_config(config, job_name(self._placement, job.id))
            client.start(made["Id"])
        except Invalid as error:
            return error.sentence
        except APIError as error:
            return f"The run could not be begun: {said(error)}."
        return ""

    def _reports(self, client: docker.APIClient) -> tuple[JobReport, ...]:
        # What was made and never ran is begun again by whoever asks for it.
        ran = [c for c in self._containers(client) if not c.never_started]
        return tuple([self._report(client, c) for c in ran if self._id(c) not in self._refused])

    def _report(self, client: docker.APIClient, container: Container) -> JobReport:
        job_id = self._id(container)
        if job_id not in self._ended:
            words = docker_look.last_words(client, container)
            if container.alive:
                return JobReport(job_id, JobState.RUNNING, words)
            good = container.exit_code == 0 and not container.error
            detail = words if good else why_ended(container, words)
            state = JobState.SUCCEEDED if good else JobState.FAILED
            self._ended[job_id] = JobReport(job_id, state, detail)
        return self._ended[job_id]

    def _id(self, container: Container) -> str:
        return container.labels["camp.job"]
