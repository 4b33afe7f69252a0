"""A registry in memory: images of one repository by tag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.adapters.registry.oci import ImageUnknown, RegistryUnavailable
from controlplane.domain.follow import Follow
from controlplane.domain.image import PublishedImage, parse, parse_version


class FakeImages:
    """The Registry port. `asked` are its calls; while `hangs` nothing is answered."""

    def __init__(self) -> None:
        self.images: dict[str, PublishedImage] = {}
        self.down = False
        self.hangs = False
        self.asked: list[str] = []

    def publish(self, tag: str, image: PublishedImage) -> None:
        self.images[tag] = image

    @asynccontextmanager
    async def opened(self, rule: Follow) -> AsyncIterator[FakeImages]:
        yield self

    async def resolve(self, reference: str) -> PublishedImage:
        await self._ask(f"resolve {reference}")
        wanted = parse_version(reference)
        if wanted.digest:
            found = [i for i in self.images.values() if i.digest == wanted.digest]
        else:
            found = [image for tag, image in self.images.items() if tag == wanted.tag]
        if not found:
            raise ImageUnknown(f"{reference} is not in the registry; push it.")
        return found[0]

    async def digest(self, reference: str) -> str:
        await self._ask(f"digest {reference}")
        return self._tagged(reference).digest

    async def tags(self, repository: str) -> tuple[str, ...]:
        await self._ask("tags")
        parse(repository)
        return tuple(sorted(self.images))

    def _tagged(self, reference: str) -> PublishedImage:
        image = self.images.get(parse_version(reference).tag)
        if image is None:
            raise ImageUnknown(f"{reference} is not in the registry; push it.")
        return image

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise RegistryUnavailable("registry.example cannot be reached; is it up?")
