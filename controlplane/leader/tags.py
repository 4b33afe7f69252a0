"""Which tags a rule means, which version a tag stands for, and the order of versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import regex
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from controlplane.domain.errors import Invalid
from controlplane.domain.follow import Follow
from controlplane.domain.image import MOVING

# For one tag: a pattern that needs longer would hold up the whole process.
MATCH_S = 0.05
# The highest tags that are looked at; a repository may have collected thousands.
MOST = 200


def rank(version: str) -> Version | None:
    """The version's place in the order of versions; None for what is no such version."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def meant(rule: Follow, tags: Iterable[str]) -> dict[str, str]:
    """The version that each tag of the rule stands for, the highest first, `MOST` at the most.

    Raises Invalid for a pattern that takes too long.
    """
    version = _ranged(rule.versions) if rule.versions else _matched(rule.tags)
    found = {tag: name for tag in tags if tag != MOVING and (name := version(tag))}
    ordered = sorted(found, key=lambda tag: _place(found[tag]), reverse=True)
    return {tag: found[tag] for tag in ordered[:MOST]}


def same(label: str, version: str) -> bool:
    """The label says this version, perhaps spelt differently; 1.4 is not 1.4.0."""
    said, wanted = rank(label), rank(version)
    return label == version or (said is not None and str(said) == str(wanted))


def _place(version: str) -> tuple[Any, ...]:
    place = rank(version)
    return (1, place, version) if place is not None else (0, version)


def _ranged(text: str) -> Callable[[str], str | None]:
    allowed = SpecifierSet(text)
    early = bool(allowed.prereleases)

    def version(tag: str) -> str | None:
        place = rank(tag)
        return tag if place is not None and allowed.contains(place, prereleases=early) else None

    return version


def _matched(pattern: str) -> Callable[[str], str | None]:
    try:
        compiled = regex.compile(pattern)
    except (regex.error, ValueError) as error:
        raise Invalid(f"follow.tags: {pattern!r} is no regular expression ({error}).") from error

    def version(tag: str) -> str | None:
        try:
            match = compiled.fullmatch(tag, timeout=MATCH_S)
        except TimeoutError as error:
            raise Invalid(
                f"follow.tags: {pattern!r} takes too long on the tag {tag}; write it without"
                " repeats inside repeats."
            ) from error
        if match is None:
            return None
        return match.groupdict().get("version") or tag

    return version
