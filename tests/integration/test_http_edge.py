"""What every response carries, whatever the route."""

from __future__ import annotations

import gzip
import json

import httpx
from litestar import get
from litestar.response import Stream

from tests.service import PRODUCTION, client_of, settings

LONG = ["a line that repeats itself"] * 200


@get("/test/long")
async def long() -> list[str]:
    return LONG


@get("/test/stream")
async def stream() -> Stream:
    return Stream(iter(LONG), media_type="text/plain")


async def raw(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    """A response whose body is as it was sent."""
    request = client.build_request("GET", path, headers=headers)
    response = await client.send(request, stream=True)
    response.raw = b"".join([part async for part in response.aiter_raw()])  # type: ignore[attr-defined]
    return response


async def test_long_text_is_packed_for_those_who_take_it() -> None:
    async with client_of(settings(), extra=(long,)) as client:
        packed = await raw(client, "/test/long", **{"accept-encoding": "gzip"})
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == (
            "gzip",
            "accept-encoding",
        )
        assert json.loads(gzip.decompress(packed.raw)) == LONG  # type: ignore[attr-defined]
        assert len(packed.raw) == int(packed.headers["content-length"]) < 1000  # type: ignore[attr-defined]
        plain = await raw(client, "/test/long", **{"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert json.loads(plain.raw) == LONG  # type: ignore[attr-defined]


async def test_streams_and_short_answers_are_never_packed() -> None:
    async with client_of(settings(), extra=(stream,)) as client:
        for path in ("/test/stream", "/health/live"):
            response = await raw(client, path, **{"accept-encoding": "gzip"})
            assert "content-encoding" not in response.headers


async def test_every_response_tells_browsers_what_it_is_not() -> None:
    async with client_of(settings()) as client:
        for path in ("/", "/nothing", "/api/v1/users/me", "/docs", "/docs/openapi.json"):
            headers = (await client.get(path, headers={"authorization": ""})).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe-eval" not in headers["content-security-policy"]
            assert "strict-transport-security" not in headers
            assert headers["x-request-id"]


async def test_production_insists_on_tls() -> None:
    made = settings(**PRODUCTION)
    async with client_of(made) as client:
        assert "max-age" in (await client.get("/health/live")).headers["strict-transport-security"]


async def test_script_of_a_listed_origin_may_read_what_it_needs() -> None:
    async with client_of(settings(ALLOWED_ORIGINS="https://a.example")) as client:
        ours = await client.get("/health/live", headers={"origin": "https://a.example"})
        assert ours.headers["access-control-allow-origin"] == "https://a.example"
        assert "x-request-id" in ours.headers["access-control-expose-headers"].lower()
        other = await client.get("/health/live", headers={"origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_sane_request_id_is_taken_over_and_another_replaced() -> None:
    async with client_of(settings()) as client:
        for given, kept in (("abc-1.2_X", True), ("a" * 65, False), ('a"b', False)):
            response = await client.get("/nothing", headers={"x-request-id": given})
            assert (response.headers["x-request-id"] == given) is kept
            assert response.json()["request_id"] == response.headers["x-request-id"]
