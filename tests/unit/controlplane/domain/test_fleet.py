"""The numbers that guard availability."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.domain.bounds import Bounds, bounds
from controlplane.domain.model import Policy
from controlplane.domain.reports import Phase
from tests.build import fleet, full, instance


def test_bounds_of_six_instances() -> None:
    assert bounds(Policy(max_surge=1, max_unavailable=0), 3) == Bounds(6, 6, 7, 6)
    assert bounds(Policy(max_surge="25%", max_unavailable="25%"), 3) == Bounds(6, 5, 8, 6)
    assert bounds(Policy(batch_size=2), 3).batch == 2


def test_batch_is_never_nothing() -> None:
    assert bounds(Policy(batch_size="1%"), 3).batch == 1


@pytest.mark.parametrize(
    ("changes", "available"),
    [
        ({}, True),
        ({"phase": Phase.READY}, True),
        ({"phase": Phase.UNREADY}, False),
        ({"phase": None}, False),
        ({"silent": True}, False),
        ({"address": "host-a:9"}, False),
        ({"admitted": False}, False),
    ],
)
def test_available_is_admitted_ready_heard_and_at_its_address(
    changes: dict[str, Any], available: bool
) -> None:
    assert instance("host-a/1", **changes).available is available


def test_fleet_counts_available_instances_and_finds_hosts() -> None:
    look = fleet(instance("host-a/1", phase=Phase.EXITED), *full()[1:])
    assert look.available == 5
    assert look.host("host-b") is look.hosts[1]
    assert look.host("host-z") is None
