"""How images are named, and what one must say of itself to be a release: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.domain.errors import ControlError, Invalid
from controlplane.domain.model import Release

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")
VERSION, REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"
SCHEMA_HEAD, SCHEMA_MIN, CONFIG = "camp.schema.head", "camp.schema.min", "camp.config.hash"
REQUIRED = (VERSION, SCHEMA_HEAD, SCHEMA_MIN)
MOVING = "latest"


class NotARelease(ControlError):
    """The image lacks the labels that a rollout decides by."""

    code = "image_labels"


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


@dataclass(frozen=True, slots=True)
class Reference:
    """HOST/NAME with a tag, a digest, or both; the digest counts."""

    host: str
    name: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.host}/{self.name}"

    @property
    def wanted(self) -> str:
        return self.digest or self.tag

    def __str__(self) -> str:
        tagged = f"{self.repository}:{self.tag}" if self.tag else self.repository
        return f"{tagged}@{self.digest}" if self.digest else tagged


def parse(text: str) -> Reference:
    """HOST/NAME[:TAG][@DIGEST]. Raises Invalid; a registry's host is never guessed."""
    rest, _, digest = text.partition("@")
    host, slash, path = rest.partition("/")
    name, _, tag = path.partition(":")
    named = "." in host or ":" in host or host == "localhost"
    if not slash or not named or not HOST.fullmatch(host):
        raise Invalid(
            f"{text!r} does not begin with a registry; write HOST/NAME:TAG or HOST/NAME@sha256:…."
        )
    good = NAME.fullmatch(name) and (not tag or TAG.fullmatch(tag))
    if not good or ("@" in text and not DIGEST.fullmatch(digest)) or path.endswith(":"):
        raise Invalid(
            f"{text!r} is no image; write HOST/NAME:TAG or HOST/NAME@sha256: and 64 hexadecimal"
            " digits, the name in lower case."
        )
    return Reference(host, name, tag, digest)


def parse_version(text: str) -> Reference:
    """As `parse`, but one image and no moving tag. Raises Invalid."""
    found = parse(text)
    if not found.wanted:
        raise Invalid(f"{text} names no version; add a tag such as :1.4.0, or @sha256:….")
    if found.tag == MOVING and not found.digest:
        raise Invalid(
            f"{text}: `{MOVING}` is a different image every day and no version; name the tag of"
            " one build, or its digest."
        )
    return found


def release_of(image: PublishedImage) -> Release:
    """The release that an image says it is. Raises NotARelease."""
    missing = [name for name in REQUIRED if not image.labels.get(name)]
    if missing:
        raise NotARelease(
            f"{image.pinned} has no label {' and no label '.join(missing)}; build it with"
            " containers/build.sh, which fills them in."
        )
    return Release(
        version=image.labels[VERSION],
        digest=image.digest,
        image=image.pinned,
        revision=image.labels.get(REVISION, ""),
        schema_head=image.labels[SCHEMA_HEAD],
        schema_min=image.labels[SCHEMA_MIN],
        config_hash=image.labels.get(CONFIG, ""),
    )
