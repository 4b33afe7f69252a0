"""The unpacked bundles of one host."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from controlplane.adapters.process import bundle
from controlplane.domain.errors import BundleError
from controlplane.domain.model import Release
from controlplane.domain.reports import ImageReport

DIGEST_PREFIX = "sha256:"


class Images:
    """Folders named by digest; what lies here was verified when it was brought."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._present: set[str] = set()
        self._failed: dict[str, ImageReport] = {}
        self._pulls: dict[str, asyncio.Task[None]] = {}

    def open(self) -> None:
        """Learn what is here; what an unpacking left half done when it was killed goes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for entry in self._folder.iterdir():
            if entry.name.startswith("."):
                shutil.rmtree(entry)
            else:
                self._present.add(DIGEST_PREFIX + entry.name)

    def of(self, digest: str) -> Path | None:
        """Where a release lies, if it is here."""
        return self._place(digest) if digest in self._present else None

    def digest_at(self, place: str) -> str:
        """Whose bytes lie at this path; empty for none of ours."""
        path = Path(place)
        return DIGEST_PREFIX + path.name if place and path.parent == self._folder else ""

    def reports(self) -> tuple[ImageReport, ...]:
        present = [ImageReport(digest, present=True) for digest in sorted(self._present)]
        return (*present, *(r for d, r in self._failed.items() if d not in self._pulls))

    def pull(self, release: Release) -> None:
        """Begin to bring a release; nothing if it is here, under way, or can never come."""
        digest = release.digest
        failed = self._failed.get(digest)
        if digest in self._present or digest in self._pulls or (failed and failed.permanent):
            return
        self._pulls[digest] = asyncio.create_task(self._bring(release))

    async def prune(self, keep: frozenset[str]) -> None:
        """Remove all but `keep`, and forget failures outside of it."""
        self._failed = {d: r for d, r in self._failed.items() if d in keep}
        for digest in sorted(self._present - keep):
            self._present.discard(digest)
            await asyncio.to_thread(bundle.discard, self._place(digest))

    def _place(self, digest: str) -> Path:
        return self._folder / digest.removeprefix(DIGEST_PREFIX)

    async def _bring(self, release: Release) -> None:
        digest = release.digest
        try:
            path = bundle.path_of(release.image)
            await asyncio.to_thread(bundle.unpack, path, digest, self._place(digest))
        except BundleError as error:
            permanent = not error.retry
            self._failed[digest] = ImageReport(digest, False, error.sentence, permanent)
        except OSError as error:
            sentence = f"The bundle could not be unpacked: {error}; free the disk, it is retried."
            self._failed[digest] = ImageReport(digest, False, sentence)
        else:
            self._present.add(digest)
            self._failed.pop(digest, None)
        finally:
            del self._pulls[digest]
