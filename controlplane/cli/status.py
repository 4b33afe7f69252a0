"""`camp status`: one environment on one screen."""

from __future__ import annotations

from collections.abc import Iterator

import rich_click as click

from controlplane.cli.common import Connection, connected, lasted, run
from controlplane.cli.env import runs
from controlplane.wire import HostView, InstanceView, RolloutView, StatusView

# On a screen of 24 lines: what is left after the head, the rollout and the prompt.
HOST_LINES = 10
DRIFT_LINES = 4
SLOTS = 12


@click.command()
@click.argument("environment")
@connected
def status(environment: str, connection: Connection) -> None:
    """Show an environment on one screen: releases on slots, rollout, leader, drift, restarts.

    In brackets, behind an instance's version, whatever is not as it should be.

    Example: camp status production
    """

    async def work() -> StatusView:
        async with connection.client() as client:
            return await client.status(environment)

    found = run(work())
    connection.show(found, lambda: lines(found))


def lines(found: StatusView) -> Iterator[str]:
    """What fits a screen; hosts in trouble first when not all do."""
    e = found.environment
    previous = f", back to {e.previous.version}" if e.previous else ""
    available = sum(i.available for h in found.hosts for i in h.instances)
    wanted = e.policy.instances_per_host * sum(not h.drained for h in found.hosts)
    yield f"{e.name}  {e.current.version if e.current else 'nothing yet'}{previous}"
    yield f"instances  {available} of {wanted} available; {runs(e) or 'none is wanted'}"
    yield f"table      revision {found.table_revision}, {found.admitted} admitted"
    yield f"leader     {_leader(found)}"
    yield from _rollout(found)
    yield from _drift(found.drift)
    yield ""
    yield from _hosts(found.hosts)


def _leader(found: StatusView) -> str:
    if found.leader is not None:
        return f"{found.leader.holder}, epoch {found.leader.epoch}"
    return found.leader_fault or "none: nothing changes until an agent leads"


def _rollout(found: StatusView) -> Iterator[str]:
    r = found.rollout
    if r is None or found.why is None:
        yield "rollout    none yet"
        return
    when = found.now if r.active else r.state_since
    took = f"for {lasted(when - r.created_at)}" if r.active else _ago(found.now, r)
    yield f"rollout    {r.id} to {r.target.version}: {r.state} {took}"
    if r.active:
        yield f"           {found.why.sentence}"
    elif r.cause:
        yield f"           {r.cause}"


def _ago(now: float, r: RolloutView) -> str:
    return f"{lasted(now - r.state_since)} ago, after {lasted(r.state_since - r.created_at)}"


def _drift(drift: tuple[str, ...]) -> Iterator[str]:
    for number, clause in enumerate(drift[:DRIFT_LINES]):
        yield f"{'drift' if number == 0 else '':<11}{clause}"
    if len(drift) > DRIFT_LINES:
        yield f"           and {len(drift) - DRIFT_LINES} more; --json has all"


def _hosts(hosts: tuple[HostView, ...]) -> Iterator[str]:
    shown = sorted(hosts, key=lambda h: (_well(h), h.name))[:HOST_LINES]
    width = max((len(h.name) for h in shown), default=0)
    for host in sorted(shown, key=lambda h: h.name):
        silent = "silent  " if host.silent else ""
        silent += "drained  " if host.drained else ""
        silent += "behind  " if host.behind else ""
        slots = "  ".join(_slot(i) for i in host.instances[:SLOTS]) or "nothing"
        slots += f"  and {len(host.instances) - SLOTS} more" if len(host.instances) > SLOTS else ""
        yield f"{host.name:<{width}}  {silent}{slots}"
    if len(hosts) > len(shown):
        yield f"and {len(hosts) - len(shown)} hosts more; see camp host list"


def _well(host: HostView) -> bool:
    return not host.silent and all(i.available and not i.restarts for i in host.instances)


def _slot(i: InstanceView) -> str:
    notes = [
        "" if i.goal in ("run", None) else i.goal,
        "no goal" if i.goal is None else "",
        "" if i.phase == "healthy" else i.phase or "unknown",
        "" if i.admitted else "out",
        f"{i.restarts} restarts" if i.restarts else "",
    ]
    said = ", ".join(note for note in notes if note)
    return f"{i.slot}: {i.version}" + (f" ({said})" if said else "")
