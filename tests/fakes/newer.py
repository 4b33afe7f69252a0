"""What an agent of a later release reports: a field and values that this one does not know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.reports import HostReport, Phase


class NewerPhase(StrEnum):
    WARMING = "warming"


@dataclass(frozen=True, slots=True)
class NewerReport(HostReport):
    temperature: float = 36.6


def newer(report: HostReport, protocol: int = PROTOCOL + 1) -> NewerReport:
    """The same report in that agent's words. Without slots it can still be read."""
    warming = cast("Phase", NewerPhase.WARMING)
    slots = tuple(replace(slot, phase=warming) for slot in report.slots)
    said = {name: getattr(report, name) for name in HostReport.__dataclass_fields__}
    return NewerReport(**said | {"slots": slots, "protocol": protocol, "agent_version": "9.0.0"})
