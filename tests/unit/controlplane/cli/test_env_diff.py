"""What `camp env apply` says that it changes."""

from __future__ import annotations

from controlplane.cli.env_diff import differences, hint
from controlplane.domain.follow import Follow
from controlplane.domain.model import Environment, Policy
from controlplane.domain.policy import Draft
from controlplane.ports.ledger import EnvironmentRow
from controlplane.router.views import environment_view
from controlplane.wire import EnvironmentView
from tests.ledgers import EDGE, a_draft, a_release


def a_view(active: str | None = None) -> EnvironmentView:
    place = Environment(
        "local", ("host-a", "host-b"), (EDGE,), Policy(), current=a_release("1.0.0")
    )
    return environment_view(EnvironmentRow(place, active, "alice", 1.0))


def told(after: Draft) -> list[str]:
    return [" ".join(line.split()) for line in differences(a_view(), after)]


def test_the_same_file_changes_nothing() -> None:
    assert told(a_draft()) == []


def test_each_changed_field_is_a_line() -> None:
    changed = a_draft(policy=Policy(instances_per_host=3, approval=True))
    assert told(changed) == ["policy.instances_per_host 2 → 3", "policy.approval false → true"]


def test_hosts_that_come_and_go_are_named() -> None:
    assert told(a_draft(hosts=("host-b", "host-c"))) == ["hosts - host-a, + host-c"]


def test_a_rule_that_is_new_is_told_field_by_field() -> None:
    rule = Follow(image="registry.example/camp")
    assert "follow.image - → registry.example/camp" in told(a_draft(follow=rule))


def test_the_hint_names_the_rollout_that_makes_it_real() -> None:
    assert hint(a_view(), "local").endswith("camp rollout start local 1.0.0")
    assert "goes on by the policy" in hint(a_view("r-1"), "local")
