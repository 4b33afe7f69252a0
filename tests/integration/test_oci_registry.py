"""Reading a registry over real HTTP: names, credentials, platforms and everything that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from controlplane.adapters.registry.oci import (
    ImageUnknown,
    OciRegistry,
    RegistryBroken,
    RegistryDenied,
    RegistryUnavailable,
    WrongPlatform,
)
from controlplane.domain.errors import Invalid
from controlplane.domain.image import MOVING, NotARelease, parse_version, release_of
from controlplane.ports.registry import PublishedImage
from tests.fakes.registry import LABELS, FakeRegistry, fake_registry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as made:
        digest = made.image(LABELS)["digest"]
        made.tag("team/camp", "1.4.0", digest)
        yield made


async def resolve(
    registry: FakeRegistry,
    which: str = ":1.4.0",
    *,
    password: str | None = None,
    platform: str = "linux/amd64",
    timeout_s: float = 5.0,
) -> PublishedImage:
    pair = (registry.user, password) if password else None
    async with OciRegistry(lambda _: pair, platform=platform, timeout_s=timeout_s) as client:
        return await client.resolve(f"{registry.address}/team/camp{which}")


async def test_tag_becomes_a_release_pinned_by_digest(registry: FakeRegistry) -> None:
    release = release_of(await resolve(registry))
    digest = registry.tags["team/camp"]["1.4.0"]
    assert release.digest == digest
    assert release.image == f"{registry.address}/team/camp@{digest}"
    assert (release.version, release.revision) == ("1.4.0", "abc")
    assert (release.schema_head, release.schema_min) == ("0002", "0001")


async def test_digest_is_resolved_to_itself(registry: FakeRegistry) -> None:
    digest = registry.tags["team/camp"]["1.4.0"]
    assert (await resolve(registry, f"@{digest}")).digest == digest


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials_open_the_registry(registry: FakeRegistry, auth: str) -> None:
    registry.auth = auth
    found = await resolve(registry, password=registry.password)
    assert found.labels == LABELS


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("password", [None, "guessed"])
async def test_wrong_or_missing_credentials_are_denied_with_the_remedy(
    registry: FakeRegistry, auth: str, password: str | None
) -> None:
    registry.auth = auth
    with pytest.raises(RegistryDenied, match="docker login"):
        await resolve(registry, password=password)


async def test_credentials_are_not_sent_in_the_clear_to_another_host(
    registry: FakeRegistry,
) -> None:
    registry.auth, registry.realm = "bearer", "http://tokens.example/token"
    with pytest.raises(RegistryBroken, match="without TLS"):
        await resolve(registry, password=registry.password)


async def test_index_keeps_its_digest_and_gives_the_platforms_labels(
    registry: FakeRegistry,
) -> None:
    arm = registry.image(LABELS | {"camp.schema.head": "0009"}, "linux/arm64")
    index = registry.index(registry.image(LABELS), arm)
    registry.tag("team/camp", "2", index)
    found = await resolve(registry, ":2", platform="linux/arm64")
    assert (found.digest, found.platform) == (index, "linux/arm64")
    assert found.labels["camp.schema.head"] == "0009"


async def test_platform_that_an_index_lacks_is_named_with_those_it_has(
    registry: FakeRegistry,
) -> None:
    registry.tag("team/camp", "2", registry.index(registry.image(LABELS)))
    with pytest.raises(WrongPlatform, match="made for linux/amd64, not for linux/arm64"):
        await resolve(registry, ":2", platform="linux/arm64")


async def test_single_image_of_another_platform_is_refused(registry: FakeRegistry) -> None:
    with pytest.raises(WrongPlatform):
        await resolve(registry, platform="linux/arm64")


async def test_unknown_tag_says_what_to_do(registry: FakeRegistry) -> None:
    with pytest.raises(ImageUnknown, match="push it"):
        await resolve(registry, ":9.9.9")


async def test_other_bytes_than_the_digest_are_refused(registry: FakeRegistry) -> None:
    digest = registry.tags["team/camp"]["1.4.0"]
    kind, body = registry.content[digest]
    registry.content[digest] = (kind, body + b" ")
    with pytest.raises(RegistryBroken, match="other bytes"):
        await resolve(registry, f"@{digest}")


async def test_what_is_not_json_is_no_registry(registry: FakeRegistry) -> None:
    registry.content["page"] = ("text/html", b"<html>")
    registry.tag("team/camp", "2", "page")
    with pytest.raises(RegistryBroken, match="is it a registry"):
        await resolve(registry, ":2")


async def test_registry_that_is_down_may_be_asked_again(registry: FakeRegistry) -> None:
    registry.status = HTTPStatus.SERVICE_UNAVAILABLE
    with pytest.raises(RegistryUnavailable, match="503") as caught:
        await resolve(registry)
    assert caught.value.retry


async def test_registry_that_nobody_runs_is_unreachable() -> None:
    async with OciRegistry() as client:
        with pytest.raises(RegistryUnavailable, match="cannot be reached"):
            await client.resolve("127.0.0.1:9/camp:1")


async def test_slow_registry_is_given_up(registry: FakeRegistry) -> None:
    registry.held.set()
    with pytest.raises(RegistryUnavailable, match=r"within 0\.3 s"):
        async with asyncio.timeout(2):
            await resolve(registry, timeout_s=0.3)


async def test_tags_come_from_every_page(registry: FakeRegistry) -> None:
    registry.page = 2
    for tag in ("1.5.0", "1.6.0", "1.7.0", "1.8.0"):
        registry.tag("team/camp", tag, "sha256:x")
    async with OciRegistry() as client:
        found = await client.tags(f"{registry.address}/team/camp")
    assert found == ("1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0")


async def test_image_without_labels_is_no_release(registry: FakeRegistry) -> None:
    registry.tag("team/camp", "2", registry.image({})["digest"])
    found = await resolve(registry, ":2")
    with pytest.raises(NotARelease, match=r"no label camp\.schema\.head"):
        release_of(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"registry.example/camp:{MOVING}", "no version"),
        ("registry.example/camp", "names no version"),
        ("camp:1.4.0", "does not begin with a registry"),
        ("team/camp:1.4.0", "does not begin with a registry"),
        ("registry.example/Camp:1.4.0", "lower case"),
        ("registry.example/camp@sha256:12", "no image"),
        ("registry.example/camp:", "no image"),
        ("registry.example/camp:1.4.0@", "no image"),
        ("user@registry.example/camp:1", "does not begin with a registry"),
    ],
)
def test_what_is_no_version_of_an_image_is_refused(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        parse_version(text)


def test_tag_and_digest_together_mean_the_digest() -> None:
    found = parse_version(f"localhost:5000/a/b:1@sha256:{'a' * 64}")
    assert found.wanted == f"sha256:{'a' * 64}"
    assert found.repository == "localhost:5000/a/b"
