"""Between the ledger's rows and the domain's structs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import convert, to_builtins
from sqlalchemy import Row

from controlplane.domain.follow import Follow, Followed
from controlplane.domain.model import Environment, Policy, Release, Rollout
from controlplane.domain.route import Route
from controlplane.ports.ledger import EnvironmentRow, Event, ReleaseRow

AnyRow = Row[Any]


def environment_of(row: AnyRow) -> Environment:
    return Environment(
        name=row.name,
        hosts=tuple(row.hosts),
        edges=tuple(row.edges),
        policy=convert(row.policy, Policy),
        version=row.version,
        current=release_of(row.current),
        previous=release_of(row.previous),
        route=convert(row.route, Route),
    )


def environment_row(row: AnyRow) -> EnvironmentRow:
    return EnvironmentRow(
        environment=environment_of(row),
        active=row.active,
        applied_by=row.applied_by,
        applied_at=row.applied_at.timestamp(),
        follow=follow_of(row.rule),
        followed=followed_of(row.followed),
        runs=tuple(sorted((row.runs or {}).items())),
    )


def follow_of(stored: Any) -> Follow | None:
    return None if stored is None else convert(stored, Follow)


def followed_of(stored: Any) -> Followed:
    return Followed() if stored is None else convert(stored, Followed)


def release_of(stored: Any) -> Release | None:
    return None if stored is None else convert(stored, Release)


def release_row(row: AnyRow) -> ReleaseRow:
    return ReleaseRow(convert(row.release, Release), row.created_by, row.created_at.timestamp())


def rollout_of(stored: Any) -> Rollout:
    return convert(stored, Rollout)


def event_of(row: AnyRow) -> Event:
    return Event(
        id=row.id,
        environment=row.environment,
        rollout=row.rollout,
        kind=row.kind,
        message=row.message,
        at=_seconds(row.at),
        data=row.data if isinstance(row.data, dict) else {},
    )


def plain(struct: Any) -> Any:
    """What JSONB can hold of a struct."""
    return to_builtins(struct)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
