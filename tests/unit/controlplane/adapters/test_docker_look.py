"""How often an engine is asked about containers that go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controlplane.adapters.docker_look import Inspections


@dataclass
class Engine:
    """One container, and how often it was inspected."""

    state: str = "running"
    name: str = "/camp-production.host-a-1"
    inspected: int = 0
    labels: dict[str, str] = field(default_factory=dict)

    def inspect_container(self, container_id: str) -> dict[str, Any]:
        self.inspected += 1
        state = {"Status": self.state, "StartedAt": "then", "FinishedAt": "now", "ExitCode": 0}
        return {
            "Id": container_id,
            "Name": self.name,
            "Created": "before",
            "Config": {"Labels": self.labels},
            "NetworkSettings": {},
            "State": state,
        }

    def listed(self) -> dict[str, Any]:
        return {"Id": "c1", "State": self.state, "Names": [self.name]}


def looks(engine: Engine, inspections: Inspections, times: int) -> None:
    client: Any = engine
    for _ in range(times):
        assert inspections.of(client, engine.listed()) is not None


def test_running_container_is_not_inspected_at_every_look() -> None:
    engine, inspections = Engine(), Inspections()
    looks(engine, inspections, 5)
    assert engine.inspected == 1


def test_container_in_another_state_is_inspected_at_once() -> None:
    engine, inspections = Engine(), Inspections()
    looks(engine, inspections, 1)
    engine.state = "exited"
    looks(engine, inspections, 2)
    assert engine.inspected == 3


def test_container_that_was_asked_to_end_is_inspected_at_once() -> None:
    engine, inspections = Engine(), Inspections()
    looks(engine, inspections, 1)
    engine.name += ".stopping.1700000000.00"
    looks(engine, inspections, 1)
    assert engine.inspected == 2


def test_container_that_is_gone_is_forgotten() -> None:
    engine, inspections = Engine(), Inspections()
    looks(engine, inspections, 1)
    inspections.forget_all_but(set())
    assert inspections.kept == {}
