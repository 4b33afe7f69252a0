"""The registry adapter and `camp release add` against a real registry."""

from __future__ import annotations

import docker
import pytest

from controlplane.adapters.registry.oci import ImageUnknown, OciRegistry
from controlplane.domain.image import release_of
from tests.containers import Images

pytestmark = pytest.mark.docker


async def test_pushed_image_is_the_release_that_its_labels_say(
    engine: docker.DockerClient, registry: str, base: str
) -> None:
    made = Images(engine, registry, base).release("1.4.0", job_code=4)
    async with OciRegistry() as client:
        found = await client.resolve(f"{registry}/stand-in:1.4.0")
        assert release_of(found) == made
        assert "1.4.0" in await client.tags(f"{registry}/stand-in")
        with pytest.raises(ImageUnknown):
            await client.resolve(f"{registry}/stand-in:0.0.0")
