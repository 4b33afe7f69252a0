"""The images of one host: pulled by digest, and marked by a local tag for as long as wanted.

The tag lies in the engine, so the next agent finds it; it also keeps `docker image prune` away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import docker
import structlog

from controlplane.adapters.docker.container import Placement, local_tag
from controlplane.adapters.docker.engine import (
    CONFLICT,
    NOT_FOUND,
    Engine,
    EngineRefused,
    passing,
)
from controlplane.domain.errors import ControlError
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport, PullReport

log = structlog.get_logger(__name__)
REPORT_INTERVAL_S = 5.0
# To list images takes an engine that holds two hundred 50 ms; agents look ten times a second. Only
# what somebody else removes is noticed this much later.
MARKS_VALID_S = 2.0
RETRY_S = (1.0, 2.0, 5.0, 10.0)
# What the engine says -> (what to do about it, whether it is in vain to try again).
REMEDIES = (
    (
        "verification failed",
        "the registry's bytes are not those of this digest; push it again",
        True,
    ),
    (
        "no matching manifest",
        "the image is not made for this host's platform; build it for it",
        True,
    ),
    ("no space left", "free the disk, it is retried", False),
    ("unauthorized", "`docker login` on this host, it is retried", False),
    ("denied", "`docker login` on this host, it is retried", False),
    ("no basic auth", "`docker login` on this host, it is retried", False),
    ("manifest unknown", "the registry does not have it; push it, it is retried", False),
    ("not found", "the registry does not have it; push it, it is retried", False),
)
OTHERWISE = "see to the registry, it is retried"


@dataclass(slots=True)
class Pull:
    """One pull under way, written by its thread; bytes of each layer: (here, in all)."""

    release: Release
    begun: float
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    told: float = 0.0

    def bytes(self) -> tuple[int, int]:
        layers = list(self.layers.values())
        return sum(here for here, _ in layers), sum(total for _, total in layers)


@dataclass(frozen=True, slots=True)
class Failure:
    report: ImageReport
    times: int
    retry_at: float


class Images:
    """Which releases' bytes are on this engine for this host."""

    def __init__(self, engine: Engine, placement: Placement) -> None:
        self._engine = engine
        self._placement = placement
        self._pulls: dict[str, Pull] = {}
        self._failures: dict[str, Failure] = {}
        self._marks: frozenset[str] = frozenset()
        self._marks_until = 0.0

    async def reports(self) -> tuple[ImageReport, ...]:
        present = await self._engine.call(self._marked_lately)
        failed = [f.report for digest, f in list(self._failures.items()) if digest not in present]
        return (*(ImageReport(digest, present=True) for digest in sorted(present)), *failed)

    def pulls(self) -> tuple[PullReport, ...]:
        under_way = list(self._pulls.items())
        return tuple(PullReport(digest, *pull.bytes()) for digest, pull in under_way)

    async def pull(self, release: Release) -> None:
        """Begin to bring a release; nothing if it is here, under way, or can never come."""
        failure = self._failures.get(release.digest)
        if release.digest in self._pulls or (failure and not _due(failure)):
            return
        if release.digest in await self._engine.call(self._marked):
            return
        pull = self._pulls[release.digest] = Pull(release, time.monotonic())
        # A thread that nobody waits for: leaving the host must not take as long as a pull.
        threading.Thread(target=self._bring, args=(pull,), daemon=True).start()

    async def prune(self, keep: frozenset[str]) -> None:
        """Give up all but `keep`, and forget failures outside of it."""
        self._failures = {d: f for d, f in list(self._failures.items()) if d in keep}
        await self._engine.call(lambda client: self._remove(client, keep))
        self._marks_until = 0.0

    def _marked_lately(self, client: docker.APIClient) -> frozenset[str]:
        now = time.monotonic()
        if now >= self._marks_until:
            # Before the look: a pull that ends during it makes the next one due.
            self._marks_until = now + MARKS_VALID_S
            self._marks = self._marked(client)
        return self._marks

    def _marked(self, client: docker.APIClient) -> frozenset[str]:
        found = client.images(filters={"reference": self._placement.images})
        tags = [tag for image in found for tag in image.get("RepoTags") or ()]
        return frozenset(
            f"sha256:{tag.rpartition(':')[2]}"
            for tag in tags
            if tag.startswith(f"{self._placement.images}:")
        )

    def _bring(self, pull: Pull) -> None:
        digest = pull.release.digest
        try:
            self._engine.do(lambda client: self._fetch(client, pull))
        except ControlError as error:
            self._failed(digest, error.sentence, _verdict(error))
        except Exception:
            # The top of a thread: what it does not say here, nobody ever hears.
            log.exception("pull_failed", digest=digest)
            self._failed(
                digest, f"The pull of {digest} broke off; see the agent's log.", ("", False)
            )
        else:
            self._failures.pop(digest, None)
            here, _ = pull.bytes()
            seconds = round(time.monotonic() - pull.begun, 2)
            log.info("pulled", digest=digest, bytes=here, seconds=seconds)
        finally:
            self._marks_until = 0.0
            del self._pulls[digest]

    def _fetch(self, client: docker.APIClient, pull: Pull) -> None:
        release, source = pull.release, pull.release.image.partition("@")[0]
        error = ""
        # To its end even after an error, or the connection would be left open.
        for line in client.pull(source, tag=release.digest, stream=True, decode=True):
            error = error or " ".join(str(line.get("error", "")).split()).rstrip(".")
            _advance(pull, line)
        if error:
            raise EngineRefused(f"{source}@{release.digest} cannot be pulled: {error}.", 500)
        repository, _, tag = local_tag(self._placement, release.digest).rpartition(":")
        client.tag(f"{source}@{release.digest}", repository, tag)

    def _failed(self, digest: str, sentence: str, verdict: tuple[str, bool]) -> None:
        remedy, permanent = verdict
        before = self._failures.get(digest)
        times = before.times + 1 if before else 1
        text = f"{sentence.rstrip('.')}; {remedy}." if remedy else sentence
        report = ImageReport(digest, present=False, error=text, permanent=permanent)
        wait_s = RETRY_S[min(times, len(RETRY_S)) - 1]
        self._failures[digest] = Failure(report, times, time.monotonic() + wait_s)
        log.warning("not_pulled", digest=digest, detail=text, times=times)

    def _remove(self, client: docker.APIClient, keep: frozenset[str]) -> None:
        for digest in sorted(self._marked(client) - keep):
            tag = local_tag(self._placement, digest)
            with passing(NOT_FOUND):
                references = client.inspect_image(tag)
                with passing(NOT_FOUND, CONFLICT):
                    client.remove_image(tag)
                _remove_unnamed(client, references)


def _remove_unnamed(client: docker.APIClient, image: Mapping[str, Any]) -> None:
    """Remove an image that no tag names any more; another host's or a person's tag keeps it."""
    with passing(NOT_FOUND):
        if client.inspect_image(image["Id"]).get("RepoTags"):
            return
    _each(image.get("RepoDigests") or (), client.remove_image)


def _each(references: Iterable[str], remove: Callable[[str], object]) -> None:
    for reference in references:
        # Conflict: some container, not of ours, still runs it.
        with passing(NOT_FOUND, CONFLICT):
            remove(reference)


def _advance(pull: Pull, line: Mapping[str, Any]) -> None:
    detail = line.get("progressDetail") or {}
    if line.get("status") == "Downloading" and "id" in line and detail.get("total"):
        pull.layers[line["id"]] = (int(detail["current"]), int(detail["total"]))
    elif line.get("status") == "Download complete" and line.get("id") in pull.layers:
        total = pull.layers[line["id"]][1]
        pull.layers[line["id"]] = (total, total)
    now = time.monotonic()
    if now - max(pull.told, pull.begun) >= REPORT_INTERVAL_S:
        pull.told = now
        here, total = pull.bytes()
        log.info("pulling", digest=pull.release.digest, bytes=here, total_bytes=total)


def _due(failure: Failure) -> bool:
    return not failure.report.permanent and time.monotonic() >= failure.retry_at


def _verdict(error: ControlError) -> tuple[str, bool]:
    """(remedy, whether it is permanent); the engine tells its reasons in words only."""
    if not isinstance(error, EngineRefused):
        return "", False
    words = error.sentence.lower()
    for sign, remedy, permanent in REMEDIES:
        if sign in words:
            return remedy, permanent
    return OTHERWISE, False
