"""What every registry promises, the one over HTTP and the fake alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from controlplane.adapters.registry.oci import ImageUnknown, OciRegistry, RegistryUnavailable
from controlplane.ports.registry import Registry
from tests.fakes.images import FakeImages
from tests.fakes.registry import LABELS, fake_registry
from tests.follows import IMAGE, an_image


@dataclass
class Ground:
    """A registry that holds one image under 1.0.0 and 1.0, and where it is."""

    registry: Registry
    image: str


@pytest.fixture(params=["fake", "http"])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    if request.param == "fake":
        images = FakeImages()
        for tag in ("1.0.0", "1.0"):
            images.publish(tag, an_image("1.4.0", "a"))
        yield Ground(images, IMAGE)
        return
    with fake_registry() as served:
        digest = served.image(LABELS)["digest"]
        for tag in ("1.0.0", "1.0"):
            served.tag("team/camp", tag, digest)
        async with OciRegistry() as client:
            yield Ground(client, f"{served.address}/team/camp")


async def test_tags_are_sorted_by_name(ground: Ground) -> None:
    assert await ground.registry.tags(ground.image) == ("1.0", "1.0.0")


async def test_digest_is_the_one_that_the_tag_resolves_to(ground: Ground) -> None:
    digest = await ground.registry.digest(f"{ground.image}:1.0.0")
    assert (await ground.registry.resolve(f"{ground.image}:1.0")).digest == digest


async def test_image_is_found_by_its_digest_with_its_labels(ground: Ground) -> None:
    digest = await ground.registry.digest(f"{ground.image}:1.0.0")
    found = await ground.registry.resolve(f"{ground.image}@{digest}")
    assert (found.digest, dict(found.labels)) == (digest, LABELS)


async def test_unknown_tag_is_said_by_both_ways_of_asking(ground: Ground) -> None:
    for ask in (ground.registry.digest, ground.registry.resolve):
        with pytest.raises(ImageUnknown, match="push it"):
            await ask(f"{ground.image}:9.9.9")


async def test_registry_that_nobody_runs_is_unavailable() -> None:
    images = FakeImages()
    images.down = True
    async with OciRegistry() as client:
        for registry in (images, client):
            with pytest.raises(RegistryUnavailable, match="cannot be reached"):
                await registry.tags("127.0.0.1:9/camp")
