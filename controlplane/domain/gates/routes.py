"""Whether every edge serves the intended table and reaches what is in it."""

from __future__ import annotations

from controlplane.domain.fleet import Fleet
from controlplane.domain.gates.waits import Wait
from controlplane.domain.reports import SERVING
from controlplane.domain.routing import EdgeReading, Table


def edges(fleet: Fleet) -> Wait | None:
    """Every edge answers with the intended table."""
    if fleet.confirmed:
        return None
    reading = max(fleet.unconfirmed, key=lambda r: r.unconfirmed_s)
    remove = (f"remove {reading.edge} with camp env apply",) if reading in fleet.lost else ()
    return Wait(
        "edge_unconfirmed",
        f"Edge {reading.edge} does not serve the intended table. {reading.cause}".rstrip(),
        ("check that the edge runs and reads Redis", *remove, "pause", "abort"),
        f"Revision {fleet.table.revision} is wanted: {_served(reading, fleet.table)}.",
    )


def _served(reading: EdgeReading, table: Table) -> str:
    if reading.revision is None:
        return reading.error
    if reading.revision != table.revision:
        return f"it serves {reading.revision}"
    missing, foreign = table.addresses - reading.servers, reading.servers - table.addresses
    said = [f"it lacks {min(missing)}"] if missing else []
    said += [f"it has {min(foreign)} besides"] if foreign else []
    return " and ".join(said)


def reach(fleet: Fleet) -> Wait | None:
    """Every edge can reach what it sends traffic to."""
    for instance in fleet.instances:
        if instance.unreached_by and instance.phase in SERVING and not instance.silent:
            edge = instance.unreached_by[0]
            return Wait(
                "edge_calls_down",
                f"Edge {edge} cannot reach {instance.name} at {instance.address}, which is ready by"
                " its agent's word.",
                (
                    f"check the firewall between them and --address of {instance.host}",
                    *("pause", "rollback", "abort"),
                ),
            )
    return None
