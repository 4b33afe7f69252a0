"""Builders for what environments follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.domain.follow import Follow, Followed, TagSeen
from controlplane.domain.image import PublishedImage
from controlplane.domain.model import Release
from controlplane.domain.sightings import FollowLook, Sighting
from tests.fakes.registry import LABELS

IMAGE = "registry.example/camp"


def digest(fill: str) -> str:
    return "sha256:" + fill.rjust(64, "0")


def a_rule(**changes: Any) -> Follow:
    return replace(Follow(image=IMAGE, versions=">=1,<2"), **changes)


def an_image(version: str, fill: str, **labels: str) -> PublishedImage:
    said = LABELS | {"org.opencontainers.image.version": version} | labels
    return PublishedImage(IMAGE, digest(fill), "linux/amd64", said)


def published(version: str, fill: str) -> Release:
    return Release(version, digest(fill), f"{IMAGE}@{digest(fill)}", "abc", "0002", "0001", "")


def sighted(version: str, fill: str) -> Sighting:
    return Sighting(version, digest(fill), published(version, fill))


def a_tag(version: str, fill: str = "a", **changes: Any) -> TagSeen:
    base = TagSeen(tag=version, digest=digest(fill), version=version, points_to=digest(fill))
    return replace(base, **changes)


def a_look(*tags: TagSeen, **changes: Any) -> FollowLook:
    """Second 100 of an environment that runs 1.0.0 and has seen these tags."""
    base = FollowLook(
        now=100.0,
        environment="local",
        version=1,
        rule=a_rule(),
        followed=Followed(tags=tags),
        known={tag.version: tag.digest for tag in tags if tag.version},
        current="1.0.0",
        tried=frozenset({"1.0.0"}),
        active=None,
    )
    return replace(base, **changes)
