"""The control API as async calls, typed by the wire; it outlives the instance that serves it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from controlplane.answers import decode, refusal
from controlplane.domain.errors import ControlError, NotFound, Unavailable
from controlplane.domain.model import Kind, Release
from controlplane.domain.naming import ROLLOUT_ID
from controlplane.wire import (
    AcceptTruth,
    EnvironmentApplied,
    EnvironmentDeleted,
    EnvironmentView,
    EventView,
    HostAnswer,
    HostOrder,
    HostView,
    InstanceView,
    LeadView,
    LogView,
    OperatorRevoked,
    OperatorView,
    PutEnvironment,
    ReleaseAdded,
    ReleaseView,
    RevokeOperator,
    RolloutView,
    StartRollout,
    StatusView,
    SteerRollout,
    TruthAccepted,
    Why,
)

T = TypeVar("T")
TIMEOUT_S = 10.0
# Heartbeats come every 10 s: a stream that is silent for longer than this is dead.
STREAM_SILENCE_S = 30.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
WATCH_INTERVAL_S = 0.5
FIRST_PATIENCE_S = 2.0


class WaitedTooLong(ControlError):
    """A wait ended before the rollout did; the sentence says what it waits for."""

    code = "waited_too_long"
    retry = True


class ControlClient:
    """Use as `async with`. Raises ControlError subclasses only.

    Reads, and writes that carry an idempotency key, are tried again for `patience_s` while no
    instance answers; before the first answer, when the address may simply be wrong, for
    `first_patience_s`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        patience_s: float = 15.0,
        first_patience_s: float = FIRST_PATIENCE_S,
    ) -> None:
        self._url = url.rstrip("/")
        self._patience_s = patience_s
        self._first_patience_s = first_patience_s
        self._reached = False
        self._http = httpx.AsyncClient(
            base_url=f"{self._url}/control/v1",
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_S,
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def environments(self) -> list[EnvironmentView]:
        return await self._get("/environments", list[EnvironmentView])

    async def environment(self, name: str) -> EnvironmentView:
        return await self._get(f"/environments/{_part(name)}", EnvironmentView)

    async def apply(self, name: str, environment: PutEnvironment) -> EnvironmentApplied:
        """Create or change an environment."""
        path = f"/environments/{_part(name)}"
        return await self._send("PUT", path, environment, EnvironmentApplied)

    async def delete_environment(self, name: str) -> EnvironmentDeleted:
        """Delete an environment that runs nothing, and take it off its edges."""
        return await self._ask("DELETE", f"/environments/{_part(name)}", EnvironmentDeleted)

    async def releases(self) -> list[ReleaseView]:
        return await self._get("/releases", list[ReleaseView])

    async def release(self, version: str) -> ReleaseView:
        return await self._get(f"/releases/{_part(version)}", ReleaseView)

    async def add_release(self, release: Release) -> ReleaseAdded:
        """Make a release known; the same one twice is no error."""
        return await self._send("POST", "/releases", release, ReleaseAdded)

    async def rollouts(self, environment: str | None = None, limit: int = 50) -> list[RolloutView]:
        """The latest rollouts, newest first."""
        return await self._get("/rollouts", list[RolloutView], environment=environment, limit=limit)

    async def rollout(self, name: str) -> RolloutView:
        return await self._get(f"/rollouts/{_part(name)}", RolloutView)

    async def start(
        self,
        environment: str,
        version: str | None,
        *,
        reason: str = "",
        supersede: bool = False,
        restart: bool = False,
        instances: int | None = None,
    ) -> RolloutView:
        """Begin a rollout to a release; without one of the present, anew or to other counts."""
        wish = StartRollout(
            environment=environment,
            version=version,
            reason=reason,
            supersede=supersede,
            idempotency_key=uuid4().hex,
            restart=restart,
            instances=instances,
        )
        return await self._send("POST", "/rollouts", wish, RolloutView)

    async def go_back(
        self, environment: str, version: str | None = None, *, reason: str = ""
    ) -> RolloutView:
        """Begin a rollout back to a release; to the previous one when none is named."""
        wish = StartRollout(
            environment=environment,
            version=version,
            kind=Kind.ROLLBACK,
            reason=reason,
            idempotency_key=uuid4().hex,
        )
        return await self._send("POST", "/rollouts", wish, RolloutView)

    async def meant(self, subject: str) -> RolloutView:
        """A rollout by its id, or by its environment's name: the active one, or the latest.

        Raises NotFound, also for an environment that never had one.
        """
        if ROLLOUT_ID.fullmatch(subject):
            return await self.rollout(subject)
        # At most one is active, and nothing begins beside it: it is the latest, too.
        latest = await self.rollouts(subject, limit=1)
        if not latest:
            raise NotFound(
                f"{subject} has had no rollout yet; see camp rollout start --help for the first."
            )
        return latest[0]

    async def steer(
        self, rollout: str, command: str, *, reason: str = "", expected_version: int | None = None
    ) -> RolloutView:
        """Approve, pause, resume, abort or rollback."""
        order = SteerRollout(
            reason=reason, expected_version=expected_version, idempotency_key=uuid4().hex
        )
        path = f"/rollouts/{_part(rollout)}/{_part(command)}"
        return await self._send("POST", path, order, RolloutView)

    async def hosts(self, environment: str | None = None) -> list[HostView]:
        return await self._get("/hosts", list[HostView], environment=environment)

    async def instances(self, environment: str | None = None) -> list[InstanceView]:
        return await self._get("/instances", list[InstanceView], environment=environment)

    async def logs(self, environment: str, host: str, slot: int, lines: int = 100) -> LogView:
        """The last lines of one slot; an agent that does not answer is not asked for long."""
        path = f"/hosts/{_part(environment)}/{_part(host)}/slots/{slot}/logs"
        patience = _Patience(self._first_patience_s)
        return await self._ask("GET", path, LogView, patience, params=_query(lines=lines))

    async def leader(self, environment: str) -> LeadView:
        """Who leads, and why somebody who could lead does not."""
        return await self._get(f"/environments/{_part(environment)}/leader", LeadView)

    async def accept_truth(self, environment: str, confirm: str, reason: str) -> TruthAccepted:
        """Go on from what PostgreSQL says although it went back in time."""
        path = f"/environments/{_part(environment)}/accept-truth"
        order = AcceptTruth(confirm=confirm, reason=reason)
        return await self._send("POST", path, order, TruthAccepted)

    async def order_host(
        self, environment: str, host: str, order: Literal["drain", "release", "forget"], reason: str
    ) -> HostAnswer:
        """Empty a host, let it carry instances again, or take it out for good."""
        path = f"/hosts/{_part(environment)}/{_part(host)}/{order}"
        return await self._send("POST", path, HostOrder(reason=reason), HostAnswer)

    async def status(self, environment: str) -> StatusView:
        """One environment on one screen."""
        return await self._get(f"/status/{_part(environment)}", StatusView)

    async def operators(self) -> list[OperatorView]:
        return await self._get("/operators", list[OperatorView])

    async def revoke_operator(self, name: str, reason: str = "") -> OperatorRevoked:
        """Make an operator's token unknown; again is no error."""
        path = f"/operators/{_part(name)}/revoke"
        return await self._send("POST", path, RevokeOperator(reason=reason), OperatorRevoked)

    async def why(self, rollout: str) -> Why:
        return await self._get(f"/why/{_part(rollout)}", Why)

    async def recent_events(
        self, environment: str | None = None, rollout: str | None = None, limit: int = 100
    ) -> list[EventView]:
        """The last events, oldest first."""
        return await self._get(
            "/events/recent",
            list[EventView],
            environment=environment,
            rollout=rollout,
            limit=limit,
        )

    async def events(
        self,
        environment: str | None = None,
        rollout: str | None = None,
        after: int | None = None,
    ) -> AsyncGenerator[EventView, None]:
        """Events as they happen, each once; goes on at another instance when one ends.

        Raises Unavailable after `patience_s` without an instance that serves them.
        """
        query = _query(environment=environment, rollout=rollout)
        patience = _Patience(self._patience_s if self._reached else self._first_patience_s)
        if after is None:
            # Named at once: after a break before the first event we must not begin at "now".
            latest = await self._get("/events/recent", list[EventView], limit=1)
            after = latest[-1].id if latest else 0
        while True:
            try:
                async with aclosing(self._stream(query, after)) as stream:
                    async for event in stream:
                        patience = _Patience(self._patience_s)
                        if event is not None:
                            after = event.id
                            yield event
                # Drained or ended: the next connection goes to another instance.
                await asyncio.sleep(FIRST_PAUSE_S)
            except (httpx.TransportError, SSEError, Unavailable) as error:
                await patience.pause(self._unreachable(error))

    async def wait(self, rollout: str, timeout_s: float = 3600.0) -> RolloutView:
        """The rollout once it is over. Raises WaitedTooLong with what it waits for."""
        end = time.monotonic() + timeout_s
        while True:
            view = await self.rollout(rollout)
            if not view.active:
                return view
            if time.monotonic() >= end:
                raise await self.too_long(rollout, timeout_s)
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def too_long(self, rollout: str, timeout_s: float) -> WaitedTooLong:
        """What to say when a wait for a rollout ends early."""
        why = await self.why(rollout)
        return WaitedTooLong(
            f"Rollout {rollout} was not over after {timeout_s:g} s; it goes on. {why.sentence}"
        )

    async def _stream(
        self, query: dict[str, str], after: int
    ) -> AsyncGenerator[EventView | None, None]:
        """One connection's events; None first, once it stands."""
        async with self._http.stream(
            "GET",
            "/events",
            params=query,
            headers={"accept": "text/event-stream", "last-event-id": str(after)},
            timeout=httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S),
        ) as response:
            if response.status_code != 200:
                await response.aread()
                raise refusal(response)
            self._reached = True
            yield None
            async for sse in EventSource(response).aiter_sse():
                if sse.event == "draining":
                    return
                # httpx-sse makes an event without data out of each heartbeat once it knows an id.
                if sse.data:
                    yield msgspec.json.decode(sse.data, type=EventView)

    async def _get(self, path: str, kind: type[T], **query: object) -> T:
        return await self._ask("GET", path, kind, params=_query(**query))

    async def _send(self, method: str, path: str, body: object, kind: type[T]) -> T:
        return await self._ask(
            method,
            path,
            kind,
            content=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
        )

    async def _ask(
        self, method: str, path: str, kind: type[T], patience: _Patience | None = None, **call: Any
    ) -> T:
        """Every write here may be repeated: it is a PUT, adds the same release, or has a key."""
        limit_s = self._patience_s if self._reached else self._first_patience_s
        patience = patience or _Patience(limit_s)
        while True:
            try:
                response = await self._http.request(method, path, **call)
            except httpx.TransportError as error:
                await patience.pause(self._unreachable(error))
                continue
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._unreachable(error) from error
            if response.is_success:
                self._reached = True
                return decode(response, kind, self._url)
            problem = refusal(response)
            if response.status_code not in (502, 503, 504):
                raise problem
            await patience.pause(problem)

    def _unreachable(self, error: Exception) -> ControlError:
        if isinstance(error, ControlError):
            return error
        return Unavailable(
            f"No control plane answers at {self._url} ({str(error) or type(error).__name__}); "
            "start camp serve there, or give the address with --url or CAMP_URL."
        )


class _Patience:
    """Pauses that grow, until a time is up."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s
        self._pause_s = FIRST_PAUSE_S

    async def pause(self, error: ControlError) -> None:
        """Raises the error when there is no time for another try."""
        if time.monotonic() + self._pause_s >= self._end:
            raise error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def _query(**given: object) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="") or "-"
