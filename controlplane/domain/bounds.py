"""The numbers that guard availability."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.fleet import Fleet
from controlplane.domain.model import Policy, count


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that guard availability.

    Six instances, surge 1, unavailable 0: at least 6 available, never more than 7 in all.
    """

    desired: int
    min_available: int
    max_total: int
    batch: int


def immovable(policy: Policy, hosts: int) -> str:
    """What is wrong with a policy by which nothing could ever be replaced; empty for others.

    Six instances with max_surge 0 and max_unavailable "10%" (0.6, so 0) could never move.
    """
    limits = bounds(policy, hosts)
    if not hosts or not limits.max_total == limits.desired == limits.min_available:
        return ""
    return (
        f"policy.max_surge and policy.max_unavailable: both come to 0 of {limits.desired} "
        "instances, so nothing could ever be replaced; raise one of them."
    )


def bounds(policy: Policy, hosts: int) -> Bounds:
    """The limits of a policy for a fleet of `hosts` hosts."""
    desired = policy.instances_per_host * hosts
    return Bounds(
        desired=desired,
        min_available=desired - count(policy.max_unavailable, desired, up=False),
        max_total=desired + count(policy.max_surge, desired, up=True),
        batch=max(1, count(policy.batch_size, desired, up=True)),
    )


def limits_of(policy: Policy, fleet: Fleet) -> Bounds:
    """The limits for the hosts that are meant to carry instances: a drained one is not."""
    return bounds(policy, sum(not h.drained for h in fleet.hosts))


def quarantined(policy: Policy, fleet: Fleet) -> frozenset[str]:
    """Hosts that have been silent for so long that the fleet goes on without them.

    None while they are more than max_unavailable allows to be without: six instances on three
    hosts, max_unavailable 2: one host may be away, two may not. A drained host counts for none.
    """
    away = [h for h in fleet.hosts if h.silent and h.silent_s > policy.host_silence_s]
    limits = limits_of(policy, fleet)
    lost = policy.instances_per_host * sum(not h.drained for h in away)
    if limits.desired - lost < max(1, limits.min_available):
        return frozenset(h.name for h in away if h.drained)
    return frozenset(h.name for h in away)
