"""The watcher's story: while we lead, look at the repository, tell what is new, start a rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import structlog

from controlplane.domain.errors import Conflict, ControlError, Fenced, Stale, Unavailable
from controlplane.domain.follow import Follow, TagSeen
from controlplane.domain.image import release_of
from controlplane.domain.sightings import FollowLook, Sighting, choose, record
from controlplane.leader.tags import meant, rank, same
from controlplane.leader.tenure import Tenure
from controlplane.ports.bus import Bus
from controlplane.ports.follows import Follows
from controlplane.ports.registry import Registry

log = structlog.get_logger(__name__)

# Between two glances at the truth: whether we lead, what the rule says, whether a look is due.
GLANCE_S = 2.0
# For all requests of one look together; what was seen by then counts.
SURVEY_S = 60.0
# New tags that are read in one look, the highest first, and known ones that are asked again.
NEW = 10
AGAIN = 5

Registries = Callable[[Follow], AbstractAsyncContextManager[Registry]]


@dataclass(slots=True)
class Survey:
    """What one look at a registry has seen so far; `listed` is None before the tags were read."""

    listed: dict[str, str] | None = None
    sightings: list[Sighting] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class Watcher:
    """Watches in the tenure of this process; a rule is followed by the leader only."""

    tenure: Tenure
    follows: Follows
    registries: Registries
    bus: Bus
    stopping: asyncio.Event
    survey_s: float = SURVEY_S

    async def tick(self) -> float:
        """One look when one is due. Returns the seconds until the next glance.

        Raises StoreUnavailable. A registry's errors are remembered and shown instead.
        """
        if self.tenure.safe_epoch() is None:
            return GLANCE_S
        seen = await self.follows.look()
        if seen is None or seen.due_in_s > 0:
            return GLANCE_S if seen is None else min(seen.due_in_s, GLANCE_S)
        survey = await self._survey(seen)
        if self.stopping.is_set():
            return GLANCE_S
        try:
            await self._record(seen, survey)
            await self._start()
        except (Fenced, Stale, Conflict) as error:
            # Somebody was faster; the leader's own loop finds out whether it still leads.
            log.info("look_dropped", code=error.code, detail=error.sentence)
        return GLANCE_S

    async def _survey(self, seen: FollowLook) -> Survey:
        """Ask the registry, for `survey_s` at the most and no longer than the process runs."""
        survey = Survey()
        asking = asyncio.create_task(self._ask(seen, survey))
        stopped = asyncio.create_task(self.stopping.wait())
        _, late = await asyncio.wait(
            (asking, stopped), timeout=self.survey_s, return_when=asyncio.FIRST_COMPLETED
        )
        if asking in late:
            survey.error = (
                f"{seen.rule.image} took longer than {self.survey_s:g} s to look through."
            )
        for task in late:
            task.cancel()
        await asyncio.gather(asking, stopped, return_exceptions=True)
        if not asking.cancelled() and (fault := asking.exception()):
            # Told like a registry's error: raised, it would be asked again at once and for ever.
            log.error("survey_failed", image=seen.rule.image, exc_info=fault)
            name = type(fault).__name__
            survey.error = f"{seen.rule.image} could not be looked through ({name}); see the log."
        return survey

    async def _ask(self, seen: FollowLook, survey: Survey) -> None:
        rule = seen.rule
        try:
            async with self.registries(rule) as registry:
                tags = await registry.tags(rule.image)
                survey.listed = await asyncio.to_thread(meant, rule, tags)
                known = {tag.tag: tag for tag in seen.followed.tags}
                for tag in due(survey.listed, known):
                    version, before = survey.listed[tag], known.get(tag)
                    survey.sightings.append(await _sight(registry, rule, tag, version, before))
        except ControlError as error:
            survey.error = error.sentence

    async def _record(self, seen: FollowLook, survey: Survey) -> None:
        found = record(
            seen,
            survey.listed or (),
            survey.sightings,
            rank,
            error=survey.error,
            complete=survey.listed is not None,
        )
        if survey.error and survey.error != seen.followed.error:
            log.warning("repository_unread", image=seen.rule.image, detail=survey.error)
        await self.follows.record(self._epoch(), self.tenure.holder, seen, found)
        if found.events:
            await self.bus.nudge("events")

    async def _start(self) -> None:
        """Start what is the highest now: the survey took its time, so look once more."""
        seen = await self.follows.look()
        if seen is None or seen.followed.error:
            return
        best = choose(seen, seen.followed.tags, rank)
        if best is None:
            return
        reason = f"{seen.rule.image}:{best.tag} was published"
        rollout = await self.follows.start(
            self._epoch(), self.tenure.holder, seen, best.version, best.digest, reason=reason
        )
        log.info("rollout_started", rollout=rollout.id, version=best.version)
        await self.bus.nudge("leader", "events")

    def _epoch(self) -> int:
        epoch = self.tenure.safe_epoch()
        if epoch is None:
            raise Fenced("The lease was not renewed in time.")
        return epoch


def due(listed: dict[str, str], known: dict[str, TagSeen]) -> list[str]:
    """The tags to ask for in this look: new ones, the highest, and those not asked for longest."""
    fresh = [tag for tag in listed if tag not in known][:NEW]
    old = [tag for tag in listed if tag in known]
    longest = sorted(old[1:], key=lambda tag: known[tag].checked_at)[: AGAIN - 1]
    return fresh + old[:1] + longest


async def _sight(
    registry: Registry, rule: Follow, tag: str, version: str, before: TagSeen | None
) -> Sighting:
    """What a tag names. Raises Unavailable; whatever else is wrong with it is its problem."""
    digest = ""
    try:
        digest = await registry.digest(f"{rule.image}:{tag}")
        if before is not None and before.digest and (before.version or before.digest == digest):
            return Sighting(tag, digest, problem=before.problem)
        image = await registry.resolve(f"{rule.image}@{digest}")
        release = release_of(image)
    except Unavailable:
        raise
    except ControlError as error:
        return Sighting(tag, digest, problem=error.sentence)
    if not same(release.version, version):
        problem = f"its label says version {release.version}, which is not the tag's; build it anew"
        return Sighting(tag, digest, problem=problem)
    return Sighting(tag, digest, release)
