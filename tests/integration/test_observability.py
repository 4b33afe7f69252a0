"""What is exported, and that alerts and the dashboard ask for nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.store import PostgresStore
from controlplane.domain.model import State
from tests.ledgers import ENVIRONMENT, a_start, furnish, lead
from tests.service import client_of, settings
from tests.stores import report

FOLDER = Path(__file__).parents[2] / "containers" / "observability"
# Prometheus makes this one itself, for every target.
ITS_OWN = {"up"}


def alerts() -> Iterator[str]:
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def panels() -> Iterator[str]:
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression asks for; raises ValueError when it is no PromQL."""
    found: set[str] = set()

    def note(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name is not None
            found.add(node.name)

    parsed = promql_parser.parse(expression.replace("$__rate_interval", "1m"))
    promql_parser.walk(parsed, note)
    return found


Samples = dict[str, list[tuple[dict[str, str], float]]]


async def exported(database_url: str, redis_url: str) -> Samples:
    """Every sample that an instance exports while a rollout is paused, by name."""
    made = settings(database_url, REDIS_URL=redis_url, RATE_LIMIT="1000/minute")
    async with client_of(made) as client:
        engine = client.app.state.engine  # type: ignore[attr-defined]
        ledger = PostgresLedger(engine)
        await furnish(ledger, "1.0.0")
        await ledger.start(a_start())
        await lead(engine, State.PAUSED)
        hosts = (await PostgresStore(engine, ENVIRONMENT).observe()).hosts
        await PostgresStore(engine, ENVIRONMENT).report(report(hosts[0].name))
        project = (await client.post("/api/v1/projects", json={"name": "p"})).json()["id"]
        await client.get(f"/api/v1/projects/{project}")
        text = (await client.get("/metrics")).text
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


async def test_alerts_and_dashboard_ask_only_for_what_is_exported(
    migrated_database_url: str, redis_url: str
) -> None:
    known = set(await exported(migrated_database_url, redis_url)) | ITS_OWN
    for expression in (*alerts(), *panels()):
        asked = metrics_of(expression)
        assert asked, expression
        assert asked <= known, expression


async def test_rollouts_and_agents_are_exported(migrated_database_url: str, redis_url: str) -> None:
    found = await exported(migrated_database_url, redis_url)
    active = {labels["state"]: value for labels, value in found["camp_rollout_active"]}
    assert (active["paused"], sum(active.values())) == (1, 1)
    ((labels, silent_s),) = found["camp_agent_silent_seconds"]
    assert labels["environment"] == ENVIRONMENT
    assert 0 <= silent_s < 30
    assert found["camp_control_plane_readable"] == [({}, 1.0)]


async def test_metrics_are_served_without_a_database() -> None:
    async with client_of(settings()) as client:
        response = await client.get("/metrics")
        assert response.status_code == 200
        assert "camp_control_plane_readable 0.0" in response.text
        assert "camp_rollout_active" not in response.text
