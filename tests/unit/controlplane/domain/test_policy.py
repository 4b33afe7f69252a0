"""An environment's file: every problem names its field and the remedy."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.errors import Invalid
from controlplane.domain.model import OnFailure, Policy
from controlplane.domain.policy import draft

WHATEVER = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


def a_table(**policy: object) -> dict[str, object]:
    return {
        "hosts": ["host-a", "host-b", "host-c"],
        "edges": ["http://127.0.0.1:8080/"],
        "policy": policy,
    }


def test_a_good_table_becomes_a_draft() -> None:
    made = draft("local", a_table(max_surge="25%", on_failure="pause", bake_s=3))
    assert made.policy == Policy(max_surge="25%", on_failure=OnFailure.PAUSE, bake_s=3.0)
    assert made.edges == ("http://127.0.0.1:8080",)


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("max_surge", -1, "count from 0"),
        ("max_surge", "101%", '"100%"'),
        ("max_surge", "1.5%", "share"),
        ("max_surge", True, "count"),
        ("max_unavailable", "-5%", "share"),
        ("max_unavailable", 0.5, "count"),
        ("batch_size", 0, "count from 1"),
        ("batch_size", "0%", '"1%"'),
        ("instances_per_host", 0, "from 1"),
        ("max_restarts", -1, "from 0"),
        ("on_failure", "explode", "rollback or pause"),
        ("approval", "yes", "true or false"),
        ("bake_s", -1, "above 0"),
        ("bake_s", math.inf, "seconds"),
        ("bake_s", math.nan, "seconds"),
        ("stop_grace_s", 0, "above 0"),
        ("host_silence_s", 0.1, "at least 1"),
        ("edge_silence_s", 0.1, "at least 1"),
        ("edges_required", "some", "all or any"),
        ("drain_deadline_s", "60", "seconds"),
    ],
)
def test_a_wrong_value_names_its_field_and_what_to_write(
    field: str, value: object, remedy: str
) -> None:
    with pytest.raises(Invalid) as caught:
        draft("local", a_table(**{field: value}))
    assert f"policy.{field}" in caught.value.sentence
    assert remedy in caught.value.sentence


@pytest.mark.parametrize("unavailable", [0, "0%", "10%"])
def test_a_policy_that_can_never_move_is_refused(unavailable: object) -> None:
    """10 % of six instances is less than one."""
    with pytest.raises(Invalid, match="nothing could ever be replaced"):
        draft("local", a_table(max_surge=0, max_unavailable=unavailable))


def test_no_surge_is_fine_when_instances_may_be_missing() -> None:
    assert draft("local", a_table(max_surge=0, max_unavailable=1)).policy.max_surge == 0


def test_a_misspelt_field_gets_a_suggestion() -> None:
    with pytest.raises(Invalid, match="did you mean max_surge"):
        draft("local", a_table(max_surg=1))
    with pytest.raises(Invalid, match="did you mean hosts"):
        draft("local", a_table() | {"host": []})


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"hosts": []}, "hosts: give at least one"),
        ({"hosts": "host-a"}, "hosts: give at least one"),
        ({"hosts": ["a", "a"]}, "twice"),
        ({"hosts": ["a", 1]}, "text in quotes"),
        ({"hosts": ["Host A"]}, "'Host A' is not a name"),
        ({"edges": []}, "edges: give at least one"),
        ({"edges": ["traefik:8080"]}, "is no URL"),
        ({"policy": 1}, "policy: must be a table"),
    ],
)
def test_hosts_and_edges_are_checked(table: dict[str, object], sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        draft("local", a_table() | table)
    assert sentence in caught.value.sentence


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        draft("Bad Name", {"hosts": [], "edges": ["x"], "policy": {"bake_s": -1, "nope": 1}})
    for field in ("name:", "hosts:", "edges:", "policy.bake_s:", "policy.nope:"):
        assert field in caught.value.sentence


@given(st.dictionaries(st.sampled_from(Policy.__slots__), WHATEVER, max_size=4))
def test_no_policy_table_raises_anything_else(policy: dict[str, object]) -> None:
    with suppress(Invalid):
        draft("local", a_table() | {"policy": policy})
