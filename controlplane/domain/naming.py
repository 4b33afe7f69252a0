"""The names of things: which we give, and which we accept."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from controlplane.domain.errors import Invalid
from controlplane.domain.model import Release

ROLLOUT_ID = re.compile(r"r-\d{8}-\d{6}-[0-9a-f]{4}")
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def rollout_id(now: float, entropy: bytes) -> str:
    """The name of a rollout begun at `now` (epoch seconds), such as r-20261123-142530-7f3a.

    Two bytes of `entropy` tell rollouts of the same second apart.
    """
    return f"r-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{entropy[:2].hex()}"


def check_release(release: Release) -> None:
    """Raises Invalid when a release's version or digest cannot be one."""
    if not VERSION.fullmatch(release.version):
        raise Invalid(
            f"version: {release.version!r} is no version; use letters, digits and . + _ -, "
            "such as 1.4.0."
        )
    if not DIGEST.fullmatch(release.digest):
        raise Invalid(
            f"digest: {release.digest!r} is no digest; give sha256: and 64 hexadecimal digits."
        )
    if not release.image:
        raise Invalid("image: is empty; say where the release's bytes are.")
