"""Asks instances over HTTP. One request says it all: readiness, identity and what still runs."""

from __future__ import annotations

import asyncio

import httpx
import msgspec

from controlplane.domain.model import Spec
from controlplane.ports.health import Probe

TIMEOUT_S = 1.0


class ReadyAnswer(msgspec.Struct, frozen=True):
    """The body of `/health/ready`, with either status."""

    version: str
    digest: str
    config_hash: str
    streams: int
    requests: int
    reason: str | None = None


class HttpHealth:
    """The health port over one shared client; `token` authorises drains off loopback."""

    def __init__(self, token: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy from the environment would answer in the instance's place.
        self._client = httpx.AsyncClient(
            headers=headers, timeout=httpx.Timeout(timeout_s), trust_env=False
        )

    async def probe(self, address: str) -> Probe:
        try:
            # httpx bounds each read; a body that drips needs a bound for the whole.
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.get(f"http://{address}/health/ready")
            body = msgspec.json.decode(answer.content, type=ReadyAnswer)
        except (TimeoutError, httpx.TimeoutException):
            return Probe(False, detail=f"no answer within {self._timeout_s:g} s")
        except httpx.HTTPError:
            return Probe(False, detail="nothing answers")
        except (msgspec.DecodeError, msgspec.ValidationError):
            return Probe(False, detail="what answers is not camp")
        spec = Spec(body.version, body.digest, body.config_hash)
        ready = answer.status_code == httpx.codes.OK
        detail = "" if ready else body.reason or f"not ready ({answer.status_code})"
        return Probe(ready, spec, body.streams, body.requests, detail)

    async def drain(self, address: str, deadline_s: float) -> None:
        order = {"deadline_s": deadline_s}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.post(f"http://{address}/internal/drain", json=order)
        except (TimeoutError, httpx.HTTPError):
            # Unreachable is an answer, and the next probe gives it.
            return

    async def close(self) -> None:
        await self._client.aclose()
