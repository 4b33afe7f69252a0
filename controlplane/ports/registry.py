"""Where images are published: what a tag stands for, and what an image says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """One image; `digest` is what its tag named, an index of platforms or the image itself.

    `platform` is os/architecture, such as linux/amd64.
    """

    repository: str
    digest: str
    platform: str
    labels: Mapping[str, str]

    @property
    def pinned(self) -> str:
        return f"{self.repository}@{self.digest}"


class Registry(Protocol):
    """Errors are ControlErrors: denied, unknown, made for another platform, or Unavailable."""

    async def resolve(self, reference: str) -> PublishedImage:
        """What HOST/NAME:TAG or HOST/NAME@DIGEST stands for now."""
        ...

    async def tags(self, repository: str) -> tuple[str, ...]:
        """All tags of HOST/NAME, sorted by name."""
        ...
