"""Where instances run on one host: processes or containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.domain.goals import Job
from controlplane.domain.model import Release, Spec
from controlplane.domain.reports import ImageReport, JobReport, PullReport

# Ended runs that stay for whoever wants to read their log.
KEPT_RUNS = 20


@dataclass(frozen=True, slots=True)
class Running:
    """One slot as the runtime sees it. `alive` is False once the process has ended.

    `started` is this machine's monotonic time in seconds; it changes with each start. What the
    runtime itself can see of the process: `digest` of its bytes, empty when it cannot say, and
    `environ`, the variables that it was started with and that shall be the same on all hosts.
    """

    slot: int
    spec: Spec
    address: str
    alive: bool
    started: float
    stopping: bool = False
    detail: str = ""
    digest: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


class Runtime(Protocol):
    """Every method returns promptly: long work goes on behind it and shows in the next look.

    Instances outlive the runtime's owner and are adopted by the next one.
    """

    async def running(self) -> tuple[Running, ...]:
        """All slots that have a process, or had one that nobody freed."""
        ...

    async def environ(self) -> Mapping[str, str]:
        """What an instance would start with now, of what shall be the same on all hosts.

        Raises Invalid when that cannot be read.
        """
        ...

    async def start(self, slot: int, release: Release) -> None:
        """Begin to run a release in a slot; nothing if that slot's process is alive."""
        ...

    async def stop(self, slot: int, grace_s: float) -> None:
        """Ask the slot's process to end and end it by force after the grace; repeatable.

        Once it is gone the slot is no longer listed.
        """
        ...

    async def pull(self, release: Release) -> None:
        """Begin to bring a release's bytes here and verify them, unless present or under way."""
        ...

    async def images(self) -> tuple[ImageReport, ...]:
        """The releases whose bytes are here, and those that could not be brought."""
        ...

    async def pulls(self) -> tuple[PullReport, ...]:
        """The pulls under way whose progress is known; asks nobody."""
        ...

    async def prune(self, keep: frozenset[str]) -> None:
        """Remove the bytes of digests that are neither in `keep` nor running."""
        ...

    async def run_once(self, job: Job) -> None:
        """Begin a one-shot run; nothing if a run of that id is known here."""
        ...

    async def jobs(self) -> tuple[JobReport, ...]:
        """The one-shot runs known here."""
        ...

    async def forget_jobs(self, wanted: frozenset[str]) -> None:
        """Forget ended runs that are not in `wanted`, but for the latest KEPT_RUNS of them."""
        ...

    async def logs(self, slot: int, lines: int) -> tuple[str, ...]:
        """The last lines a slot's process wrote."""
        ...
