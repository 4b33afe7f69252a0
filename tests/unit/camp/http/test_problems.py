from __future__ import annotations

import httpx
import pytest
from litestar import get

from camp.ops.schema import SchemaHistory
from tests.service import PRODUCTION, client_of, settings

HISTORY = SchemaHistory("0002", frozenset({"0001", "0002"}))
SHAPE = {"type", "title", "status", "detail", "instance", "code", "request_id"}
API = "/api/v1"


@get("/bug", sync_to_thread=False)
def bug() -> None:
    raise KeyError("the inside of the program")


async def asked(method: str, path: str, **request: object) -> httpx.Response:
    async with client_of(settings(), history=HISTORY, extra=(bug,)) as client:
        return await client.request(method, path, **request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "route_not_found"),
        ("GET", f"{API}/chats/not-a-uuid", {}, 404, "route_not_found"),
        ("DELETE", "/", {}, 405, "method_not_allowed"),
        ("POST", "/internal/drain", {"content": "{"}, 400, "bad_request"),
        ("POST", "/internal/drain", {"json": {}}, 400, "validation_failed"),
        ("POST", "/internal/drain", {"json": {"deadline_s": -1}}, 400, "validation_failed"),
        ("GET", f"{API}/users/me", {"headers": {"authorization": ""}}, 401, "unauthorized"),
        ("GET", f"{API}/users/me", {"headers": {"authorization": "Basic x"}}, 401, "unauthorized"),
        ("GET", f"{API}/users/me", {"headers": {"authorization": "Bearer é"}}, 401, "unauthorized"),
        (
            "POST",
            f"{API}/chats",
            {"headers": {"authorization": ""}},
            401,
            "unauthorized",
        ),
        ("GET", f"{API}/users/me", {}, 503, "database_unavailable"),
        ("POST", f"{API}/chats", {"content": b"x" * 1_000_001}, 503, "database_unavailable"),
        ("POST", "/internal/drain", {"content": b"x" * 1_000_001}, 413, "body_too_large"),
        ("GET", "/bug", {}, 500, "internal_error"),
    ],
)
async def test_every_error_is_a_problem(
    method: str, path: str, request_: dict[str, object], status: int, code: str
) -> None:
    if "headers" in request_:
        request_["headers"] = {k: v.encode() for k, v in request_["headers"].items()}  # type: ignore[attr-defined]
    response = await asked(method, path, **request_)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert response.headers["content-type"].startswith("application/problem+json")
    assert set(problem) >= SHAPE
    assert (problem["status"], problem["instance"]) == (status, path)
    assert problem["request_id"] == response.headers["x-request-id"]


async def test_validation_names_the_field() -> None:
    response = await asked("POST", "/internal/drain", json={"deadline_s": "soon"})
    assert [error["field"] for error in response.json()["errors"]] == ["deadline_s"]


async def test_internal_error_leaks_nothing() -> None:
    response = await asked("GET", "/bug")
    assert "inside" not in response.text
    assert "KeyError" not in response.text


async def test_method_not_allowed_says_what_is() -> None:
    assert "GET" in (await asked("PUT", "/")).headers["allow"]


async def test_unauthorized_says_how() -> None:
    response = await asked("GET", f"{API}/users/me", headers={"authorization": "Bearer wrong"})
    assert response.headers["www-authenticate"] == "Bearer"


async def test_unavailable_says_when_to_retry() -> None:
    response = await asked("GET", f"{API}/users/me")
    assert response.json()["retryable"] is True
    assert response.headers["retry-after"] == "1"


async def test_harmless_request_id_is_kept_and_any_other_replaced() -> None:
    kept = await asked("GET", "/nowhere", headers={"x-request-id": "abc-1"})
    replaced = await asked("GET", "/nowhere", headers={"x-request-id": "a b"})
    assert kept.json()["request_id"] == "abc-1"
    assert replaced.json()["request_id"] != "a b"


async def test_production_takes_no_mock_token() -> None:
    production = settings(**PRODUCTION)
    async with client_of(production, history=HISTORY) as client:
        assert (await client.get(f"{API}/users/me")).status_code == 401
