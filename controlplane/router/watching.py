"""What runs where, what happened, and why nothing moves, over HTTP."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from litestar import Controller, Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter

from controlplane.domain.drift import drift
from controlplane.domain.errors import BusUnavailable, NotFound, Unavailable
from controlplane.domain.fleet import Fleet
from controlplane.domain.look import look
from controlplane.domain.records import Snapshot
from controlplane.domain.reports import MAX_LOG_LINES
from controlplane.ports.lease import Reason
from controlplane.router.control import Control
from controlplane.router.explain import explain
from controlplane.router.stream import EventResponse, frames, resume_after
from controlplane.router.tail import Tails
from controlplane.router.views import (
    environment_view,
    event_view,
    host_view,
    instance_view,
    rollout_view,
)
from controlplane.wire import (
    EventView,
    HostView,
    InstanceView,
    LeaderView,
    LogView,
    StatusView,
    Why,
)

Lines = Annotated[int, QueryParameter(ge=1, le=MAX_LOG_LINES)]
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


class FleetController(Controller):
    """Hosts and instances: goals and reports side by side. Edges are the leader's to ask."""

    @get("/hosts")
    async def list_hosts(
        self, control: NamedDependency[Control], environment: FromQuery[str | None] = None
    ) -> list[HostView]:
        """All hosts, of one environment if named."""
        views: list[HostView] = []
        for name in await _names(control, environment):
            snapshot, fleet = await _look(control, name)
            rows = {row.name: row for row in snapshot.hosts}
            views += [host_view(name, host, rows[host.name], fleet) for host in fleet.hosts]
        return views

    @get("/instances")
    async def list_instances(
        self, control: NamedDependency[Control], environment: FromQuery[str | None] = None
    ) -> list[InstanceView]:
        """All instances, of one environment if named."""
        views: list[InstanceView] = []
        for name in await _names(control, environment):
            _, fleet = await _look(control, name)
            views += [instance_view(name, i, fleet.host(i.host)) for i in fleet.instances]
        return views


class StatusController(Controller):
    """One environment on one screen."""

    @get("/status/{name:str}")
    async def show_status(
        self, control: NamedDependency[Control], name: FromPath[str]
    ) -> StatusView:
        """Releases on slots, leader, rollout and drift, by one look."""
        row = await control.ledger.environment(name)
        snapshot, fleet = await _look(control, name)
        latest = await control.ledger.rollouts(name, 1)
        rollout = snapshot.rollout or (latest[0] if latest else None)
        lead = await _lead(control, name)
        hosts = {host.name: host for host in snapshot.hosts}
        calm = rollout is None or not rollout.active
        return StatusView(
            environment=environment_view(row),
            now=snapshot.now,
            hosts=tuple(host_view(name, host, hosts[host.name], fleet) for host in fleet.hosts),
            leader=lead.leader,
            leader_fault=lead.fault or (lead.reason.sentence if lead.reason else ""),
            table_revision=snapshot.table.revision,
            admitted=len(snapshot.table.members),
            rollout=None if rollout is None else rollout_view(rollout),
            why=None if rollout is None else explain(rollout, snapshot.now, *lead),
            drift=drift(snapshot.environment, fleet) if calm else (),
        )


class LogController(Controller):
    """What instances wrote, read by the agent of their host at that moment."""

    @get("/hosts/{environment:str}/{host:str}/slots/{slot:int}/logs")
    async def read_log(
        self,
        control: NamedDependency[Control],
        environment: FromPath[str],
        host: FromPath[str],
        slot: FromPath[int],
        lines: Lines = 100,
    ) -> LogView:
        """The last lines of one slot."""
        row = await control.ledger.environment(environment)
        if host not in row.environment.hosts:
            raise NotFound(f"Environment {environment} has no host {host!r}; see camp host list.")
        found = await control.logs(environment).ask(host, slot, lines)
        return LogView(environment=environment, host=host, slot=slot, lines=found)


class EventController(Controller):
    """The log."""

    path = "/events"

    @get("/recent")
    async def recent_events(
        self,
        control: NamedDependency[Control],
        environment: FromQuery[str | None] = None,
        rollout: FromQuery[str | None] = None,
        limit: Limit = 100,
    ) -> list[EventView]:
        """The last events, oldest first."""
        await _scope(control, environment, rollout)
        found = await control.ledger.recent_events(environment, rollout, limit)
        return [event_view(event) for event in found]

    @get(responses={200: ResponseSpec(None, description="text/event-stream of EventView")})
    async def stream_events(
        self,
        *,
        request: Request[str, str, State],
        control: NamedDependency[Control],
        tails: NamedDependency[Tails],
        environment: FromQuery[str | None] = None,
        rollout: FromQuery[str | None] = None,
        after: FromQuery[int | None] = None,
    ) -> EventResponse:
        """Events as they happen; those after Last-Event-ID (or `after`) first.

        Ends with `event: draining` when this instance drains: reconnect with the last id.
        """
        if control.streams.draining.is_set():
            raise Unavailable("This instance drains and opens no streams; connect again.")
        scope = await _scope(control, environment, rollout)
        begin = resume_after(request.headers.get("last-event-id"))
        begin = after if begin is None else begin
        if begin is None:
            begin = await control.ledger.last_event()
        return EventResponse(frames(control.streams, tails.of(scope), begin, rollout))


class WhyController(Controller):
    """Why a rollout stands where it stands."""

    @get("/why/{name:str}")
    async def why(self, control: NamedDependency[Control], name: FromPath[str]) -> Why:
        """State, blocker, deadline, leader and the safe next actions."""
        rollout = await control.ledger.rollout(name)
        now = (await control.store(rollout.environment).observe()).now
        return explain(rollout, now, *await _lead(control, rollout.environment))


class Lead(NamedTuple):
    """Who leads by the lease, why somebody who could does not, and why that could not be asked."""

    leader: LeaderView | None
    reason: Reason | None
    fault: str


async def _lead(control: Control, environment: str) -> Lead:
    lease = control.lease(environment)
    try:
        holder, reason = await lease.holder(), await lease.reason()
    except BusUnavailable as error:
        return Lead(None, None, error.sentence)
    leader = None if holder is None else LeaderView(holder=holder[0], epoch=holder[1])
    return Lead(leader, reason, "")


async def _names(control: Control, environment: str | None) -> tuple[str, ...]:
    if environment is not None:
        return ((await control.ledger.environment(environment)).environment.name,)
    return tuple(row.environment.name for row in await control.ledger.environments())


async def _look(control: Control, environment: str) -> tuple[Snapshot, Fleet]:
    snapshot = await control.store(environment).observe()
    return snapshot, look(snapshot, ())


async def _scope(control: Control, environment: str | None, rollout: str | None) -> str | None:
    """The environment whose events are asked for. Raises NotFound for unknown names."""
    if rollout is not None:
        return (await control.ledger.rollout(rollout)).environment
    if environment is not None:
        await control.ledger.environment(environment)
    return environment
