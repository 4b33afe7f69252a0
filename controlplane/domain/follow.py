"""What it means that an environment follows a repository: the rule, and what is remembered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from controlplane.domain.errors import Invalid
from controlplane.domain.image import parse

LEAST_INTERVAL_S = 5.0
LONGEST_PATTERN = 200
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+")
_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,9}){0,4}"
_VERSION = rf"{_NUMBER}((a|b|rc)[0-9]{{1,9}})?"
_CLAUSE = rf"(((>=|<=|>|<) ?{_VERSION})|((==|!=) ?{_VERSION})|((==|!=) ?{_NUMBER}\.\*))"
# Narrower than what the library behind it understands, so that nothing passes here and fails there.
RANGE = re.compile(rf"{_CLAUSE}( ?, ?{_CLAUSE})*")


class StartMode(StrEnum):
    """What happens when a higher version appears."""

    NEVER = "never"
    APPROVAL = "approval"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """The rule. Exactly one of `versions` (a range) and `tags` (a regular expression) is given."""

    image: str
    versions: str = ""
    tags: str = ""
    start: StartMode = StartMode.APPROVAL
    interval_s: float = 30.0
    insecure: bool = False
    platform: str = "linux/amd64"


FIELDS = tuple(Follow.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSeen:
    """What is remembered of one tag; `digest` is what was judged, "" while it is not known.

    `version` is empty for a tag that is skipped, and `problem` says why. `points_to` is what the
    tag named last. `moved` are the digests it moved to that were reported.
    """

    tag: str
    digest: str = ""
    version: str = ""
    problem: str = ""
    points_to: str = ""
    moved: tuple[str, ...] = ()
    checked_at: float = 0.0

    @property
    def stays(self) -> bool:
        """The tag is a release, and still names what it named."""
        return bool(self.version) and self.points_to == self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What the last look left behind; `looked_at` is 0 when a look is due."""

    looked_at: float = 0.0
    error: str = ""
    tags: tuple[TagSeen, ...] = ()


def carried(before: Follow, known: Followed, after: Follow) -> Followed:
    """What stays true under a changed rule: tags of the same images; a look is due."""
    same = (before.image, before.platform) == (after.image, after.platform)
    return replace(known, looked_at=0.0, error="") if same else Followed()


def follow_of(table: object, problems: list[str]) -> Follow | None:
    """Check a parsed `follow` table; what is wrong with it goes to `problems`."""
    if table is None:
        return None
    if not isinstance(table, Mapping):
        problems.append("follow: must be a table, as in [environments.NAME.follow].")
        return None
    given = {name: value for name, value in table.items() if name in FIELDS}
    found = [
        f"follow.{name}: {value!r} does not do; {remedy}."
        for name, value in given.items()
        if (remedy := CHECKS[name](value))
    ]
    if "image" not in given:
        found.append('follow.image: is missing; name a repository, as in image = "HOST/NAME".')
    if ("versions" in given) == ("tags" in given):
        found.append(
            'follow.versions, follow.tags: give one of them, as in versions = ">=1.2,<2", or '
            r"""tags = 'main-\d+'."""
        )
    problems += found
    if found:
        return None
    made = Follow(**given)
    return replace(made, start=StartMode(made.start), interval_s=float(made.interval_s))


def _image(value: object) -> str:
    remedy = "write HOST/NAME, the name in lower case, without a tag or a digest"
    try:
        return remedy if not isinstance(value, str) or parse(value).wanted else ""
    except Invalid:
        return remedy


def _versions(value: object) -> str:
    if isinstance(value, str) and RANGE.fullmatch(value):
        return ""
    return 'write a range of versions such as ">=1.2,<2" (>=, >, <=, <, ==, !=)'


def _tags(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > LONGEST_PATTERN:
        return f"write a regular expression of up to {LONGEST_PATTERN} characters"
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        return f"it is no regular expression ({error})"
    return ""


def _start(value: object) -> str:
    return "" if value in tuple(StartMode) else f"write {' or '.join(StartMode)}"


def _interval(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return "" if value >= LEAST_INTERVAL_S else f"write at least {LEAST_INTERVAL_S:g} seconds"
    return "write seconds as a number"


def _insecure(value: object) -> str:
    return "" if isinstance(value, bool) else "write true or false"


def _platform(value: object) -> str:
    good = isinstance(value, str) and PLATFORM.fullmatch(value)
    return "" if good else "write os/architecture, such as linux/arm64"


CHECKS = {
    "image": _image,
    "versions": _versions,
    "tags": _tags,
    "start": _start,
    "interval_s": _interval,
    "insecure": _insecure,
    "platform": _platform,
}
