"""What follows from a look at a repository: new releases, what is told, and what may start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from controlplane.domain.errors import Invalid
from controlplane.domain.follow import Follow, Followed, StartMode, TagSeen
from controlplane.domain.model import Release
from controlplane.domain.naming import check_release

MOVES_REMEMBERED = 20
# A version's place in the order of versions, None for what has none.
Rank = Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLook:
    """What the truth says of a following environment; `now` is database time in seconds.

    `version` counts changes of the rule and of what is remembered. `known` maps the versions of
    all releases to their digests. `tried` are the versions that rollouts here went to.
    """

    now: float
    environment: str
    version: int
    rule: Follow
    followed: Followed
    known: Mapping[str, str]
    current: str | None
    tried: frozenset[str]
    active: str | None

    @property
    def due_in_s(self) -> float:
        if not self.followed.looked_at:
            return 0.0
        return max(0.0, self.followed.looked_at + self.rule.interval_s - self.now)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a tag named: a release, or why it is none. `digest` is "" when that is not known."""

    tag: str
    digest: str
    release: Release | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What one look writes, all or nothing; `events` are (kind, message)."""

    followed: Followed
    releases: tuple[Release, ...] = ()
    events: tuple[tuple[str, str], ...] = ()


def record(
    seen: FollowLook,
    listed: Iterable[str],
    sightings: Iterable[Sighting],
    rank: Rank,
    *,
    error: str = "",
    complete: bool = True,
) -> Record:
    """What to remember and to tell of a look; `listed` are all tags that the rule means now.

    A look that broke off before it had the list is not `complete`: it forgets nothing.
    """
    wanted = frozenset(listed)
    tags = {t.tag: t for t in seen.followed.tags if t.tag in wanted or not complete}
    known = dict(seen.known)
    releases: list[Release] = []
    events: list[tuple[str, str]] = []
    for sighting in sightings:
        before = tags.get(sighting.tag)
        after = _judged(seen, before, sighting, known)
        tags[after.tag] = after
        if sighting.release is not None and after.version and after.version not in known:
            releases.append(sighting.release)
            known[after.version] = after.digest
            events.append(("release", _welcome(seen.rule, after, rank)))
        events += _told(seen.rule, before, after)
    ordered = tuple(tags[name] for name in sorted(tags))
    followed = Followed(looked_at=seen.now, error=error, tags=ordered)
    return Record(followed, tuple(releases), tuple(events))


def _judged(
    seen: FollowLook, before: TagSeen | None, sighting: Sighting, known: Mapping[str, str]
) -> TagSeen:
    """What is remembered of a tag after this sighting of it."""
    digest, release = sighting.digest, sighting.release
    if before is not None and before.version:
        # A tag that is a release stays that release, whatever it names now.
        return _followed_on(before, sighting, seen.now)
    blank = TagSeen(tag=sighting.tag, digest=digest, points_to=digest, checked_at=seen.now)
    if release is None:
        return replace(blank, problem=sighting.problem)
    published = known.get(release.version)
    if published is not None:
        mine = TagSeen(tag=sighting.tag, digest=published, version=release.version)
        return _followed_on(mine, sighting, seen.now)
    other = next((version for version, held in known.items() if held == digest), None)
    if other is not None:
        return replace(blank, problem=f"these bytes are known as release {other} already")
    return _named(blank, release)


def _followed_on(known: TagSeen, sighting: Sighting, now: float) -> TagSeen:
    moved, named = known.moved, sighting.digest
    if named not in ("", known.digest, *moved):
        moved = (*moved, named)[-MOVES_REMEMBERED:]
    problem = "" if named else sighting.problem
    return replace(known, points_to=named, moved=moved, problem=problem, checked_at=now)


def _named(blank: TagSeen, release: Release) -> TagSeen:
    try:
        check_release(release)
    except Invalid as error:
        return replace(blank, problem=error.sentence)
    return replace(blank, version=release.version)


def _welcome(rule: Follow, after: TagSeen, rank: Rank) -> str:
    said = f"{rule.image}:{after.tag} is release {after.version} from now on, {after.digest}"
    if rule.start is StartMode.NEVER or rank(after.version) is not None:
        return said
    return f"{said}; it is not known what it is higher than, so start it by hand"


def _told(rule: Follow, before: TagSeen | None, after: TagSeen) -> list[tuple[str, str]]:
    """Each fact once: a tag that is skipped, a tag that moved."""
    where = f"{rule.image}:{after.tag}"
    told = []
    if after.moved and after.moved != (before.moved if before else ()):
        told.append(("tag_moved", _moved(where, after)))
    said = (before.digest, before.problem) if before else ("", "")
    if after.problem and said != (after.digest, after.problem):
        told.append(("tag_skipped", f"{where} is skipped: {after.problem}"))
    return told


def _moved(where: str, after: TagSeen) -> str:
    return (
        f"{where} names {after.moved[-1]} now, and release {after.version} is {after.digest};"
        " nothing is deployed: publish other bytes as a new version"
    )


def choose(seen: FollowLook, tags: Iterable[TagSeen], rank: Rank) -> TagSeen | None:
    """The tag whose release a rollout may start to: the highest, and only upwards.

    Higher than what runs, and than whatever a rollout here went to before: what failed or was
    rolled back is not started again. Nothing while a rollout is active, or while it cannot be
    said what is higher.
    """
    if seen.rule.start is StartMode.NEVER or seen.active is not None:
        return None
    standing = {tag.version: rank(tag.version) for tag in tags}
    fit = [t for t in tags if t.stays and standing[t.version] is not None]
    if not fit:
        return None
    best = max(fit, key=lambda tag: standing[tag.version])
    before = [rank(v) for v in {*seen.tried, *([seen.current] if seen.current else [])}]
    if seen.current is not None and rank(seen.current) is None:
        return None
    if any(standing[best.version] <= held for held in before if held is not None):
        return None
    return best
