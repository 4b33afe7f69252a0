"""What an environment follows, in memory."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain.errors import Conflict, Fenced, Stale
from controlplane.domain.follow import Follow, StartMode
from controlplane.domain.model import Environment, Kind, Policy, Release, Rollout
from controlplane.domain.sightings import FollowLook, Record
from controlplane.domain.starting import begin
from tests.fakes.world import World


class FakeFollows:
    """One environment. `seen` is what `look` answers, but for the time; None: no rule."""

    def __init__(
        self, world: World, seen: FollowLook | None, issued: int = 1, holder: str = "test"
    ) -> None:
        self.world = world
        self.seen = seen
        self.issued = issued
        self.holder = holder
        self.events: list[tuple[str, str]] = []
        self.releases: dict[str, Release] = {}
        self.started: dict[str, Rollout] = {}

    def follow(self, rule: Follow) -> None:
        """An operator changes the rule."""
        assert self.seen is not None
        self.seen = replace(self.seen, rule=rule, version=self.seen.version + 1)

    def end(self) -> None:
        """The active rollout is over."""
        assert self.seen is not None
        self.seen = replace(self.seen, active=None)

    async def look(self) -> FollowLook | None:
        await self.world.point("follows.look")
        return self.seen and replace(self.seen, now=self.world.now)

    async def record(self, epoch: int, holder: str, seen: FollowLook, record: Record) -> None:
        await self.world.point("follows.record")
        stored = self._fence(epoch, holder, seen)
        known = {release.version: release.digest for release in record.releases}
        if any(stored.known.get(version, held) != held for version, held in known.items()):
            raise Conflict("The version belongs to another release.")
        self.releases.update({release.version: release for release in record.releases})
        self.events.extend(record.events)
        self.seen = replace(
            stored,
            followed=record.followed,
            version=stored.version + 1,
            known={**stored.known, **known},
        )

    async def start(
        self,
        epoch: int,
        holder: str,
        seen: FollowLook,
        version: str,
        digest: str,
        *,
        reason: str,
    ) -> Rollout:
        await self.world.point("follows.start")
        stored = self._fence(epoch, holder, seen)
        if digest in self.started:
            return self.started[digest]
        if stored.active is not None:
            raise Conflict(f"Rollout {stored.active} is active.")
        policy = Policy(approval=stored.rule.start is StartMode.APPROVAL)
        place = Environment(stored.environment, ("host-a",), ("http://edge",), policy)
        rollout = begin(
            f"r-{len(self.started) + 1}",
            place,
            Kind.DEPLOY,
            self.releases[version],
            actor="watcher",
            reason=reason,
            now=self.world.now,
        )
        self.started[digest] = rollout
        self.seen = replace(stored, active=rollout.id, tried=stored.tried | {version})
        return rollout

    def _fence(self, epoch: int, holder: str, seen: FollowLook) -> FollowLook:
        if (epoch, holder) != (self.issued, self.holder):
            raise Fenced(f"Epoch {epoch} is outdated.")
        if self.seen is None or self.seen.version != seen.version:
            raise Stale("What the environment follows has changed.")
        return self.seen
