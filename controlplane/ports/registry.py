"""Where images are published: what a tag stands for, and what an image says of itself."""

from __future__ import annotations

from typing import Protocol

from controlplane.domain.image import PublishedImage

__all__ = ["PublishedImage", "Registry"]


class Registry(Protocol):
    """Errors are ControlErrors: denied, unknown, made for another platform, or Unavailable."""

    async def resolve(self, reference: str) -> PublishedImage:
        """What HOST/NAME:TAG or HOST/NAME@DIGEST stands for now."""
        ...

    async def digest(self, reference: str) -> str:
        """Only which bytes HOST/NAME:TAG stands for now, as the registry says; cheap to ask."""
        ...

    async def tags(self, repository: str) -> tuple[str, ...]:
        """All tags of HOST/NAME, sorted by name."""
        ...
