from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.described import document, operations
from tests.service import settings

API = "/api/v1"
PROJECT = f"{API}/projects/{{project_id}}"
PROBLEM = "application/problem+json"
# What they say no with beside 401, 429 and 503, which every route for signed-in users may answer.
OWN = {
    ("post", "/internal/drain"): "400 401 403 413",
    ("get", f"{API}/users/me"): "404",
    ("patch", f"{API}/users/me"): "400 404 412 413",
    ("get", "/metrics"): "403",
    ("get", f"{API}/users"): "400 403",
    ("get", f"{API}/users/{{user_id}}"): "403 404",
    ("patch", f"{API}/users/{{user_id}}"): "400 403 404 409 412 413",
    ("post", f"{API}/chats"): "400 413",
    ("get", f"{API}/chats"): "400",
    ("get", f"{API}/chats/usage"): "400",
    ("get", f"{API}/chats/{{chat_id}}"): "404",
    ("delete", f"{API}/chats/{{chat_id}}"): "404",
    ("post", f"{API}/chats/{{chat_id}}/stream"): "400 404 413",
    ("post", f"{API}/projects"): "400 413",
    ("get", f"{API}/projects"): "400",
    ("get", PROJECT): "404",
    ("patch", PROJECT): "400 403 404 412 413",
    ("delete", PROJECT): "400 403 404 412",
    ("get", f"{PROJECT}/members"): "400 404",
    ("post", f"{PROJECT}/members"): "400 403 404 409 413",
    ("get", f"{PROJECT}/members/{{user_id}}"): "404",
    ("patch", f"{PROJECT}/members/{{user_id}}"): "400 403 404 409 412 413",
    ("delete", f"{PROJECT}/members/{{user_id}}"): "403 404 409",
    ("get", f"{PROJECT}/files"): "400 404",
    ("post", f"{PROJECT}/files"): "400 403 404 408 413 415",
    ("get", f"{PROJECT}/files/{{file_id}}"): "404",
    ("get", f"{PROJECT}/files/{{file_id}}/content"): "400 404 416",
    ("delete", f"{PROJECT}/files/{{file_id}}"): "403 404",
    ("post", f"{API}/runs"): "400 403 413 422",
    ("get", f"{API}/runs"): "400",
    ("get", f"{API}/runs/{{run_id}}"): "404",
    ("post", f"{API}/runs/{{run_id}}/cancel"): "404",
    ("delete", f"{API}/runs/{{run_id}}"): "404 409",
    ("get", f"{API}/runs/{{run_id}}/events"): "404",
}


@cache
def described() -> dict[str, Any]:
    return document(settings())


def problems(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation's answers in the one shape of errors, by status."""
    answers = operation["responses"].items()
    return {status: said for status, said in answers if PROBLEM in (said.get("content") or {})}


def test_every_route_says_what_it_says_no_with() -> None:
    common = {"401", "429", "503"}
    found = {
        place: set(problems(operation)) - (common if place[1].startswith(API) else set())
        for place, operation in operations(described()).items()
        if problems(operation)
    }
    assert found == {place: set(statuses.split()) for place, statuses in OWN.items()}
    for (_, path), operation in operations(described()).items():
        assert not path.startswith(API) or common <= set(problems(operation))


def test_whatever_is_no_success_is_a_problem_with_an_example_of_each_code() -> None:
    for place, operation in operations(described()).items():
        refused = {status for status in operation["responses"] if status >= "400"}
        refused -= {"503"} if place[1] == "/health/ready" else set()
        assert refused == set(problems(operation)), place
        for status, said in problems(operation).items():
            examples = [each["value"] for each in said["content"][PROBLEM]["examples"].values()]
            codes = [example.code for example in examples]
            assert len(set(codes)) == len(codes) > 0, place
            assert {str(example.status) for example in examples} == {status}, place


@pytest.mark.parametrize("place", sorted(operations(described())), ids=" ".join)
def test_route_has_a_summary_for_people(place: tuple[str, str]) -> None:
    operation = operations(described())[place]
    summary, description = operation["summary"], operation["description"]
    assert description.startswith(summary.split()[0])
    assert 2 <= len(summary.split()) <= 16
    assert summary[-1] not in ".;:"
