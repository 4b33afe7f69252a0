"""Gates: open, waiting for one thing with a sentence about it, or failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain import gates
from controlplane.domain.fleet import Fleet, Instance
from controlplane.domain.gates import Failure, Wait
from controlplane.domain.goals import Goal, Job, JobState
from controlplane.domain.model import Blocker, Kind, Policy, State
from controlplane.domain.reports import Phase, PullReport
from controlplane.domain.routing import EdgeReading
from tests.build import NEW, OLD, UNCONFIRMED, fleet, full, instance, rollout, starting


def with_silence(look: Fleet, name: str, silent_s: float) -> Fleet:
    hosts = tuple(
        replace(h, silent=True, silent_s=silent_s) if h.name == name else h for h in look.hosts
    )
    return replace(look, hosts=hosts)


def test_silent_host_is_waited_for_and_named() -> None:
    wait = gates.silence(with_silence(fleet(*full()), "host-b", 5.0), Policy())
    assert wait is not None
    assert wait.code == "host_silent"
    assert "host-b" in wait.sentence


def test_second_agent_of_a_host_holds_a_rollout_up_and_is_named() -> None:
    look = fleet(*full())
    hosts = (replace(look.hosts[0], holder="box-1", rival="box-2"), *look.hosts[1:])
    wait = gates.preflight(rollout(State.PREFLIGHT), replace(look, hosts=hosts))
    assert isinstance(wait, Wait)
    assert wait.code == "host_claimed_twice"
    assert "box-2, claims host-a and is refused, because box-1 has it" in wait.sentence
    back = rollout(State.PREFLIGHT, kind=Kind.ROLLBACK)
    assert gates.preflight(back, replace(look, hosts=hosts)) is None


def test_quarantined_host_is_done_without_only_within_max_unavailable() -> None:
    look = with_silence(fleet(*full()), "host-b", 20.0)
    assert gates.silence(look, Policy(max_unavailable=2)) is None
    assert gates.silence(look, Policy(max_unavailable=1)) is not None
    fresh = with_silence(look, "host-c", 5.0)
    assert gates.silence(fresh, Policy(max_unavailable="100%")) is not None


def test_hosts_that_are_silent_for_the_same_time_are_all_named() -> None:
    look = with_silence(with_silence(fleet(*full()), "host-b", 9.0), "host-c", 9.0)
    wait = gates.silence(look, Policy())
    assert wait is not None
    assert "host-b, host-c" in wait.sentence


def test_edge_that_serves_another_revision_is_told_apart_from_one_that_is_down() -> None:
    behind = gates.edges(fleet(unconfirmed=(EdgeReading("http://e", 4),)))
    down = gates.edges(fleet(unconfirmed=(EdgeReading("http://e", None, "no answer"),)))
    assert behind is not None
    assert behind.detail == "Revision 1 is wanted: it serves 4."
    assert down is not None
    assert down.detail == "Revision 1 is wanted: no answer."


def test_edge_with_other_servers_is_told_what_is_wrong_with_them() -> None:
    table = fleet(instance("host-a/1")).table
    foreign = EdgeReading("http://e", 1, servers=frozenset({"host-x:1"}))
    wait = gates.edges(replace(fleet(), table=table, unconfirmed=(foreign,)))
    assert wait is not None
    assert wait.detail == "Revision 1 is wanted: it lacks host-a:1 and it has host-x:1 besides."


def test_known_cause_of_a_lagging_edge_is_in_the_blocker() -> None:
    deaf = EdgeReading("http://e", 4, cause="Redis does not tell edges of changed keys.")
    wait = gates.edges(fleet(unconfirmed=(deaf,)))
    assert wait is not None
    assert wait.sentence.endswith(deaf.cause)


def test_lost_edge_may_be_removed() -> None:
    gone = (EdgeReading("http://e", None, "no answer", unconfirmed_s=20.0),)
    wait = gates.edges(fleet(unconfirmed=gone, lost=gone))
    assert wait is not None
    assert "remove http://e with camp env apply" in wait.next_actions


def test_rollout_says_that_it_waits_for_the_first_check_of_a_host() -> None:
    new = replace(instance("host-b/3", NEW), untried=True)
    wait = gates.convergence(NEW, fleet(*full(), new), Policy())
    assert wait.code == "edge_checks"
    assert "host-b/3" in wait.sentence


def test_instance_that_an_edge_cannot_reach_is_named_with_the_edge() -> None:
    apart = replace(instance("host-b/3", NEW), unreached_by=("http://e",))
    wait = gates.convergence(NEW, fleet(*full(), apart), Policy())
    assert wait.code == "edge_calls_down"
    assert "http://e cannot reach host-b/3 at host-b:3" in wait.sentence


def test_redeployed_release_needs_its_own_bytes_only() -> None:
    assert gates.needed_images(rollout(source=NEW)) == (NEW,)
    assert gates.needed_images(rollout(source=None)) == (NEW,)
    assert gates.needed_images(rollout()) == (NEW, OLD)


def test_silent_hosts_bytes_are_not_waited_for() -> None:
    look = with_silence(fleet(*full()), "host-a", 20.0)
    bare = (replace(look.hosts[0], images=frozenset()), *look.hosts[1:])
    assert gates.images(rollout(), replace(look, hosts=bare)) is None


def test_migration_that_ended_without_its_schema_failed() -> None:
    job = Job("r1/1", "host-a", NEW, ("migrate",), JobState.SUCCEEDED)
    look = fleet(*full(), schema=frozenset({"0001"}), jobs=(job,))
    result = gates.migration(rollout(State.MIGRATING), look)
    assert isinstance(result, Failure)
    assert "0002" in result.sentence


def test_migration_waits_when_no_host_can_run_it() -> None:
    look = fleet(*full(), schema=frozenset())
    hosts = tuple(replace(h, images=frozenset()) for h in look.hosts)
    result = gates.migration(rollout(State.MIGRATING), replace(look, hosts=hosts))
    assert isinstance(result, Wait)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY, Phase.UNREADY, Phase.EXITED])
def test_instance_is_not_failed_for_the_time_its_agent_was_away(phase: Phase) -> None:
    late = fleet(*full(), starting("host-a/3", phase=phase))
    assert gates.readiness(rollout(), late, 1000.0) is None


def test_instance_that_its_agent_never_reports_fails_in_time() -> None:
    unseen = fleet(*full(), starting("host-a/3", phase=None))
    assert isinstance(gates.readiness(rollout(), unseen, 1000.0), Failure)


def test_instance_of_a_silent_host_is_not_judged() -> None:
    mute = fleet(*full(), starting("host-a/3", phase=Phase.FAILED, silent=True))
    assert gates.readiness(rollout(), mute, 1000.0) is None


def test_failed_instance_of_the_old_release_says_nothing_about_the_new() -> None:
    old = fleet(instance("host-a/1", phase=Phase.FAILED), *full()[1:])
    assert gates.readiness(rollout(), old, 1.0) is None


def failing(number: int) -> list[Instance]:
    return [starting(f"host-b/{n}", phase=Phase.FAILED) for n in range(3, 3 + number)]


def test_as_many_instances_may_fail_as_the_policy_says() -> None:
    two = rollout(policy=Policy(max_failures=2))
    assert gates.readiness(two, fleet(*full(), *failing(2)), 1.0) is None
    verdict = gates.readiness(two, fleet(*full(), *failing(3)), 1.0)
    assert isinstance(verdict, Failure)
    assert "host-b/3 and 2 more (2 may fail)" in verdict.sentence


def test_a_share_of_the_fleet_may_fail_rounded_down() -> None:
    assert gates.failures_allowed(Policy(), fleet(hosts="abc")) == 0
    ten = Policy(instances_per_host=10)
    assert gates.failures_allowed(ten, fleet(hosts="abcdefghijklmnopqrst")) == 20


def test_release_is_not_judged_while_the_old_instances_fail_alike() -> None:
    down = [replace(i, phase=Phase.UNREADY) for i in full()[:3]]
    wait = gates.readiness(rollout(), fleet(*down, *full()[3:], *failing(1)), 1.0)
    assert isinstance(wait, Wait)
    assert wait.code == "failing_alike"


def test_what_suffered_with_the_old_ones_has_its_time_to_come_back() -> None:
    look, held = fleet(*full(), *failing(1)), Blocker("failing_alike", "…", 0.0)
    wait = gates.readiness(rollout(blocker=held), look, 50.0)
    assert isinstance(wait, Wait)
    assert wait.code == "recovering"
    since = gates.blocker(wait, rollout(blocker=held), 50.0)
    assert isinstance(gates.readiness(rollout(blocker=since), look, 100.0), Wait)
    assert isinstance(gates.readiness(rollout(blocker=since), look, 113.0), Failure)


def test_release_that_a_contract_has_left_behind_is_refused() -> None:
    result = gates.preflight(rollout(), fleet(*full(), retired=frozenset({"0002"})))
    assert isinstance(result, Failure)
    assert "0002" in result.sentence


def test_release_whose_oldest_schema_was_never_here_is_refused() -> None:
    young = replace(NEW, schema_min="0009")
    result = gates.preflight(rollout(target=young), fleet(*full()))
    assert isinstance(result, Failure)
    assert "0009" in result.sentence


def test_waits_name_what_moves() -> None:
    def code(*extra: object) -> str:
        return gates.convergence(NEW, fleet(*full(), *extra), Policy()).code  # type: ignore[arg-type]  # instances

    assert code(starting("host-a/3")) == "starting"
    assert code(starting("host-a/3", phase=Phase.READY)) == "min_healthy"
    assert code(instance("host-a/3", goal=Goal.DRAIN, admitted=False)) == "draining"
    assert code(instance("host-a/3", goal=Goal.STOP, admitted=False)) == "stopping"


def test_missing_capacity_names_the_instances_that_are_not_ready() -> None:
    look = fleet(instance("host-a/1", phase=Phase.UNREADY), *full()[1:])
    wait = gates.convergence(NEW, look, Policy())
    assert wait.code == "capacity"
    assert wait.sentence == "5 instances are available, 6 must remain; host-a/1 not ready."


def test_silent_host_that_may_not_be_missed_is_what_a_finished_rest_waits_for() -> None:
    silent = [replace(i, silent=i.host == "host-c", spec=NEW.spec) for i in full()]
    wait = gates.convergence(NEW, fleet(*silent), Policy(max_unavailable=1))
    assert wait.code == "host_silent"


def test_blocker_offers_only_commands_that_would_be_accepted() -> None:
    wait = gates.edges(fleet(unconfirmed=UNCONFIRMED))
    assert wait is not None
    assert "pause" in gates.blocker(wait, rollout(), 1.0).next_actions
    checking = gates.blocker(wait, rollout(State.PREFLIGHT), 1.0).next_actions
    assert "pause" not in checking
    assert checking[-1] == "abort"


def test_host_that_cannot_see_its_instances_is_named_with_the_reason() -> None:
    look = fleet(*[replace(i, silent=i.host == "host-b") for i in full()])
    a, b, c = look.hosts
    blind = replace(look, hosts=(a, replace(b, runtime_error="The engine does not answer."), c))
    wait = gates.silence(blind, Policy())
    assert wait is not None
    assert wait.code == "runtime_unavailable"
    assert wait.sentence.startswith("host-b cannot see its instances, which may still serve: The")


def fetching(here_bytes: int) -> Fleet:
    look = fleet(*full())
    bare = replace(
        look.hosts[0],
        images=frozenset({OLD.digest}),
        pulls=(PullReport(NEW.digest, here_bytes, 166_000_000),),
    )
    return replace(look, hosts=(bare, *look.hosts[1:]))


def test_pull_tells_how_far_it_has_come() -> None:
    wait = gates.images(rollout(), fetching(120_000_000))
    assert wait is not None
    told = gates.blocker(wait, rollout(), 5.0).told
    assert told == "host-a is still fetching 1.1.0. 120 of 166 MB are here."


def test_progress_of_a_wait_does_not_begin_it_anew() -> None:
    first, later = (
        gates.images(rollout(), fetching(0)),
        gates.images(rollout(), fetching(9_000_000)),
    )
    assert first is not None
    assert later is not None
    begun = gates.blocker(first, rollout(), 5.0)
    goes_on = gates.blocker(later, rollout(blocker=begun), 9.0)
    assert (goes_on.since, goes_on.sentence) == (5.0, begun.sentence)
    assert goes_on.detail != begun.detail


def test_wait_that_an_earlier_release_wrote_down_goes_on() -> None:
    """It put the detail into the sentence."""
    wait = gates.images(rollout(), fetching(9_000_000))
    assert wait is not None
    written = Blocker(wait.code, f"{wait.sentence} 3 of 166 MB are here.", 5.0)
    goes_on = gates.blocker(wait, rollout(blocker=written), 9.0)
    assert (goes_on.since, goes_on.sentence) == (5.0, wait.sentence)


def test_migration_tells_what_it_says() -> None:
    running = Job("r1/1", "host-a", NEW, ("migrate",), JobState.RUNNING, "0002 applied")
    look = replace(fleet(*full()), schema=frozenset({"0001"}), jobs=(running,))
    wait = gates.migration(rollout(State.MIGRATING), look)
    assert isinstance(wait, Wait)
    assert wait.detail == "It says: 0002 applied"
