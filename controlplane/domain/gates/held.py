"""Whether the bytes of both releases are where they are needed."""

from __future__ import annotations

from controlplane.domain.fleet import Fleet, Host
from controlplane.domain.gates.waits import Wait
from controlplane.domain.model import Release, Rollout


def needed_images(rollout: Rollout) -> tuple[Release, ...]:
    """What every host holds before the first stop: where we go, and where we could return to."""
    if rollout.source is None or rollout.source.digest == rollout.target.digest:
        return (rollout.target,)
    return (rollout.target, rollout.source)


def images(rollout: Rollout, fleet: Fleet) -> Wait | None:
    """The bytes of both releases on every host that speaks: where we go, and the way back."""
    needed = needed_images(rollout)
    for host in fleet.hosts:
        for release in needed:
            if release.digest not in host.images and not host.silent:
                error = next((e.error for e in host.image_errors if e.digest == release.digest), "")
                reason = f": {error}" if error else "."
                return Wait(
                    "image_missing",
                    f"{host.name} is still fetching {release.version}{reason}",
                    ("check that the image can be read from that host", "rollback", "abort"),
                    _how_far(host, release),
                )
    return None


def _how_far(host: Host, release: Release) -> str:
    """What has come of a pull: a layer counts from when the registry says how long it is."""
    pull = next((p for p in host.pulls if p.digest == release.digest), None)
    if pull is None or not pull.total_bytes:
        return ""
    return f"{pull.here_bytes // 1_000_000} of {pull.total_bytes // 1_000_000} MB are here."


def missing_images(rollout: Rollout, host: Host) -> list[Release]:
    """The releases this host has not been told to hold yet."""
    return [r for r in needed_images(rollout) if r.digest not in host.wanted_images]
