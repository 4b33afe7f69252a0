"""What instances start with, compared without being told."""

from __future__ import annotations

from dataclasses import replace

from controlplane.domain import gates
from controlplane.domain.environs import differences, prints, whole
from controlplane.domain.fleet import Fleet, Host
from controlplane.domain.gates import Wait
from controlplane.domain.model import State
from tests.build import fleet, full, rollout

KEY = "a key"
SAME = {"STORAGE_URL": "s3://one/", "SECRET_KEY": "hunter2"}


def host(name: str, version: str = "1", **environ: str) -> Host:
    plain = Host(name, 0.0, silent=False, settled=True, agent_version=version)
    return replace(plain, environ=prints(KEY, SAME | environ))


def seen(*hosts: Host, one_environment: bool = True) -> Fleet:
    return replace(fleet(*full()), hosts=hosts, one_environment=one_environment)


def test_neither_value_nor_plain_hash_of_it_is_told() -> None:
    told = repr(prints(KEY, SAME))
    assert "hunter2" not in told
    assert prints(KEY, SAME) != prints("another key", SAME)


def test_nothing_is_told_before_there_is_a_key() -> None:
    assert prints("", SAME) == ()
    assert whole(()) == ""


def test_one_variable_changes_its_own_print_and_the_whole() -> None:
    before, after = prints(KEY, SAME), prints(KEY, SAME | {"SECRET_KEY": "other"})
    assert [name for name, _ in set(after) - set(before)] == ["SECRET_KEY"]
    assert whole(before) != whole(after)


def test_hosts_that_differ_from_most_are_named_with_the_variable() -> None:
    odd = host("host-b", STORAGE_URL="file:///srv")
    assert differences([host("host-a"), odd, host("host-c")]) == (("STORAGE_URL", ("host-b",)),)


def test_variable_that_only_one_host_has_is_named() -> None:
    assert differences([host("host-a"), host("host-b"), host("host-c", EXTRA="1")]) == (
        ("EXTRA", ("host-c",)),
    )


def test_silent_hosts_and_agents_of_another_release_are_not_compared() -> None:
    other = host("host-b", STORAGE_URL="file:///srv")
    assert differences([host("host-a"), replace(other, silent=True)]) == ()
    assert differences([host("host-a"), replace(other, agent_version="2")]) == ()
    assert differences([host("host-a"), replace(other, environ=())]) == ()


def test_preflight_waits_for_hosts_to_agree_and_names_variable_and_host_but_no_value() -> None:
    look = seen(host("host-a"), host("host-b", STORAGE_URL="file:///srv"), host("host-c"))
    wait = gates.preflight(rollout(State.PREFLIGHT), look)
    assert isinstance(wait, Wait)
    assert wait.code == "environment_differs"
    assert "STORAGE_URL on host-b" in wait.sentence
    assert "/srv" not in wait.sentence
    assert gates.environments(replace(look, one_environment=False)) is None
