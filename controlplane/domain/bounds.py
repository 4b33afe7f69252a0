"""The numbers that guard availability."""

from __future__ import annotations

from dataclasses import dataclass

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
