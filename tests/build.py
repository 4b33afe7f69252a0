"""Builders of domain values: each names only what the test is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.domain.fleet import Fleet, Host, Instance
from controlplane.domain.goals import Goal
from controlplane.domain.model import Kind, Policy, Release, Rollout, State, enter
from controlplane.domain.reports import Phase
from controlplane.domain.routing import EdgeReading, Member, Table


def release(version: str = "1.0.0", schema: str = "0001") -> Release:
    return Release(version, f"sha256:{version}", f"/{version}", "abc", schema, "0001", "cfg")


OLD, NEW = release("1.0.0"), release("1.1.0", "0002")


def rollout(state: State = State.PROGRESSING, **changes: Any) -> Rollout:
    """From 1.0.0 to 1.1.0, begun at second 0, with two instances on each host."""
    blank = Rollout("r1", "test", Kind.DEPLOY, NEW, OLD, Policy(), state, 0.0, 0.0, 0.0)
    return replace(enter(replace(blank, **changes), state, 0.0), **changes)


def instance(name: str, of: Release = OLD, **changes: Any) -> Instance:
    """An admitted, healthy instance `host/slot`; `admitted=False` keeps it out of the table."""
    host, _, slot = name.partition("/")
    address = f"{host}:{slot}"
    admitted = changes.pop("admitted", True)
    plain = Instance(
        host=host,
        slot=int(slot),
        spec=of.spec,
        goal=Goal.RUN,
        since=0.0,
        phase=Phase.HEALTHY,
        address=address,
        drained=False,
        admitted_once=admitted,
        member=Member(host, int(slot), address) if admitted else None,
        silent=False,
    )
    return replace(plain, **changes)


def starting(name: str, of: Release = NEW, **changes: Any) -> Instance:
    return instance(name, of, **({"admitted": False, "phase": Phase.STARTING} | changes))


def fleet(*instances: Instance, hosts: str = "abc", **changes: Any) -> Fleet:
    """Hosts host-a.. that hold both releases, confirmed edges, and these instances."""
    names = [f"host-{c}" for c in hosts]
    silent = {i.host for i in instances if i.silent}
    both = frozenset({OLD.digest, NEW.digest})
    members = frozenset(i.member for i in instances if i.member)
    plain = Fleet(
        hosts=tuple(Host(n, 30.0 * (n in silent), n in silent, True, both, both) for n in names),
        instances=instances,
        table=Table(1, members),
        schema=frozenset({"0001", "0002"}),
    )
    return replace(plain, **changes)


def full(of: Release = OLD, hosts: str = "abc") -> list[Instance]:
    """Two instances of a release on every host."""
    return [instance(f"host-{c}/{n}", of) for c in hosts for n in (1, 2)]


UNCONFIRMED = (EdgeReading("http://edge", 0),)
