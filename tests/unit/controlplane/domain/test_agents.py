"""Agents are replaced last, one at a time, and whatever becomes of them takes nothing back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.domain.actions import Plan, ReplaceAgent
from controlplane.domain.fleet import Fleet
from controlplane.domain.goals import AgentGoal
from controlplane.domain.look import look
from controlplane.domain.model import Environment, OnFailure, Policy, State
from controlplane.domain.planner import plan
from controlplane.domain.protocol import PROTOCOL
from controlplane.domain.records import HostRow, Snapshot
from controlplane.domain.reports import AgentReport, HostReport
from tests.build import NEW, OLD, fleet, full, rollout

POLICY = Policy(update_agents=True, bake_s=0.0)
VERIFYING = rollout(State.VERIFYING, policy=POLICY)
OURS, THEIRS = AgentReport(OLD.digest), AgentReport(NEW.digest)


def agents(leader: str = "host-a", **hosts: AgentReport | None) -> Fleet:
    """The release on every slot; hosts a, b and c with these agents, by default the old ones."""
    seen = fleet(*full(NEW), leader=leader)
    return replace(
        seen,
        hosts=tuple(
            replace(h, agent=hosts.get(h.name[-1], OURS), agent_version="1.0.0") for h in seen.hosts
        ),
    )


def asked(seen: Fleet, host: str, since: float = 1.0) -> Fleet:
    goal = AgentGoal(NEW, since)
    hosts = tuple(replace(h, agent_goal=goal) if h.name == host else h for h in seen.hosts)
    return replace(seen, hosts=hosts)


def planned(seen: Fleet, now: float = 1.0, **changes: Any) -> Plan:
    return plan(replace(VERIFYING, **changes), seen, POLICY, now)


def test_first_agent_is_replaced_once_the_release_held() -> None:
    assert planned(agents(leader="host-c")).actions == (ReplaceAgent("host-a", NEW),)


def test_nothing_is_replaced_while_the_release_bakes() -> None:
    baking = replace(POLICY, bake_s=5.0)
    decided = plan(replace(VERIFYING, policy=baking), agents(), baking, 1.0)
    assert decided.actions == ()
    assert decided.blocker is not None
    assert decided.blocker.code == "baking"


def test_next_agent_waits_for_the_one_under_way() -> None:
    decided = planned(asked(agents(), "host-b"))
    assert decided.actions == ()
    assert decided.blocker is not None
    assert decided.blocker.code == "agent_replaced"


def test_bake_is_over_for_good_once_an_agent_was_asked() -> None:
    policy = replace(POLICY, bake_s=500.0)
    decided = plan(replace(VERIFYING, policy=policy), asked(agents(b=THEIRS), "host-b"), policy, 1)
    assert decided.actions == (ReplaceAgent("host-c", NEW),)


def test_leaders_own_agent_goes_last() -> None:
    assert planned(agents(b=THEIRS)).actions == (ReplaceAgent("host-c", NEW),)
    assert planned(agents(b=THEIRS, c=THEIRS)).actions == (ReplaceAgent("host-a", NEW),)


def test_rollout_succeeds_when_every_agent_is_the_releases() -> None:
    assert planned(agents(a=THEIRS, b=THEIRS, c=THEIRS)).state is State.SUCCEEDED


def test_each_agent_that_is_done_moves_the_deadline() -> None:
    first = planned(asked(agents(leader="host-c"), "host-a"))
    second = planned(asked(agents(leader="host-c", a=THEIRS), "host-b"))
    assert second.progress == first.progress + 1


def test_agent_that_could_not_be_replaced_pauses_and_takes_nothing_back() -> None:
    refused = replace(OURS, refused=1.0, detail="its successor ended with code 1.")
    decided = planned(asked(agents(a=refused), "host-a"))
    assert decided.state is State.PAUSED
    assert decided.cause == "The agent of host-a goes on as 1.0.0: its successor ended with code 1."


def test_after_a_pause_the_agent_is_tried_again() -> None:
    refused = replace(OURS, refused=1.0, detail="its successor ended with code 1.")
    decided = planned(asked(agents("host-b", a=refused), "host-a"), 7.0, state_since=6.0)
    assert decided.actions == (ReplaceAgent("host-a", NEW),)


def test_deadline_amid_the_agents_pauses_even_where_failures_roll_back() -> None:
    assert POLICY.on_failure is OnFailure.ROLLBACK
    seen = asked(agents(), "host-b")
    waiting = replace(VERIFYING, blocker=planned(seen).blocker)
    assert plan(waiting, seen, POLICY, VERIFYING.deadline_at).state is State.PAUSED


def test_preflight_refuses_agents_that_cannot_be_replaced() -> None:
    seen = agents(b=AgentReport(obstacle="it runs as a process."), c=None)
    decided = planned(seen, state=State.PREFLIGHT)
    assert decided.state is State.FAILED
    assert decided.cause == "The agent of host-b cannot be replaced: it runs as a process."


def test_agents_stay_when_the_policy_does_not_name_them() -> None:
    policy = replace(POLICY, update_agents=False)
    assert plan(replace(VERIFYING, policy=policy), agents(), policy, 1.0).state is State.SUCCEEDED


def seen_with(protocol: int) -> Fleet:
    report = HostReport("host-a", 1, 1, protocol=protocol)
    row = HostRow("host-a", 1, (), report, 1, seen_at=10.0)
    empty = fleet(hosts="a")
    environment = Environment("test", ("host-a",), ("http://e",), POLICY)
    return look(
        Snapshot(10.0, environment, None, (), (row,), empty.table, (), frozenset()), (), "host-b"
    )


def test_one_protocol_of_skew_is_believed_and_more_is_not() -> None:
    assert [seen_with(PROTOCOL + n).hosts[0].silent for n in (0, 1, 2)] == [False, False, True]


def test_skew_is_named_in_the_blocker() -> None:
    (host,) = fleet(hosts="a").hosts
    decided = plan(
        rollout(State.PREFLIGHT),
        replace(fleet(), hosts=(replace(host, silent=True, protocol=PROTOCOL + 2),)),
        Policy(),
        1.0,
    )
    assert decided.blocker is not None
    assert decided.blocker.code == "protocol_skew"
    assert "speaks protocol 3 and the leader 1" in decided.blocker.sentence


def test_report_that_cannot_be_read_is_a_skew_of_protocols() -> None:
    (host,) = fleet(hosts="a").hosts
    unread = replace(host, silent=True, protocol=PROTOCOL + 1, unread="Invalid enum value 'x'")
    decided = plan(rollout(State.PREFLIGHT), replace(fleet(), hosts=(unread,)), Policy(), 1.0)
    assert decided.blocker is not None
    assert decided.blocker.code == "protocol_skew"
    assert "Invalid enum value 'x'" in decided.blocker.sentence
    assert "its instances keep serving" in decided.blocker.sentence
