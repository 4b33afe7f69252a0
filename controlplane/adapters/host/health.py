"""Asks instances over HTTP. One request says it all: readiness, identity and what still runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from typing import TypeVar

import httpx
import msgspec

from controlplane.domain.model import Spec
from controlplane.ports.health import Probe

TIMEOUT_S = 1.0
# More at a time would make one host's look a burst of connections.
AT_ONCE = 32


T = TypeVar("T")


class ReadyAnswer(msgspec.Struct, frozen=True):
    """The body of `/health/ready`, with either status."""

    version: str
    digest: str
    config_hash: str
    streams: int
    requests: int
    reason: str | None = None
    status: str = ""


class HttpHealth:
    """The health port over one shared client; `token` authorises drains off loopback."""

    def __init__(self, token: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(AT_ONCE)
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
        draining = body.status == "draining"
        return Probe(ready, spec, body.streams, body.requests, detail, draining)

    async def probe_all(self, addresses: Collection[str]) -> dict[str, Probe]:
        asked = tuple(addresses)
        answers = await asyncio.gather(*(self._in_turn(self.probe(each)) for each in asked))
        return dict(zip(asked, answers, strict=True))

    async def drain_all(self, deadlines_s: Mapping[str, float]) -> None:
        calls = (self.drain(address, left_s) for address, left_s in deadlines_s.items())
        await asyncio.gather(*(self._in_turn(call) for call in calls))

    async def _in_turn(self, call: Awaitable[T]) -> T:
        async with self._turns:
            return await call

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
