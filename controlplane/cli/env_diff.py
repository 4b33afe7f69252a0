"""What applying a file would change in an environment, or has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from controlplane.domain.policy import Draft
from controlplane.wire import EnvironmentView


def differences(before: EnvironmentView | None, after: Draft) -> list[str]:
    """A line for each field that differs, `before → after`; for a new environment none."""
    if before is None:
        return []
    rule = before.follow and before.follow.rule
    then = {
        "hosts": before.hosts,
        "edges": before.edges,
        "policy": before.policy,
        "follow": rule,
    }
    now = {name: getattr(after, name) for name in then}
    old, new = dict(_flat("", msgspec.to_builtins(then))), dict(_flat("", msgspec.to_builtins(now)))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    width = max((len(name) for name in names), default=0)
    return [f"  {name:<{width}}  {_change(old.get(name), new.get(name))}" for name in names]


def hint(before: EnvironmentView | None, name: str) -> str:
    """What applying does not do, and how it is done."""
    if before is not None and before.active_rollout:
        return f"Rollout {before.active_rollout} goes on by the policy that it began with."
    current = before.current.version if before and before.current else "VERSION"
    return f"No instance moves until a rollout: camp rollout start {name} {current}"


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, part in value.items():
        yield from _flat(f"{prefix}.{name}" if prefix else name, part)


def _change(old: Any, new: Any) -> str:
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        gone = [f"- {item}" for item in old if item not in new]
        come = [f"+ {item}" for item in new if item not in old]
        return ", ".join(gone + come) or f"in another order: {', '.join(map(str, new))}"
    return f"{_said(old)} → {_said(new)}"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None or value == "" else str(value)
