"""From the domain's structs to the wire's."""

from __future__ import annotations

from controlplane.domain.commands import allowed
from controlplane.domain.environs import whole
from controlplane.domain.fleet import Fleet, Host, Instance
from controlplane.domain.model import Kind, Rollout, State
from controlplane.domain.records import HostRow
from controlplane.ports.ledger import EnvironmentRow, Event, OperatorRow, ReleaseRow
from controlplane.wire import (
    EnvironmentView,
    EventView,
    FollowView,
    HostView,
    InstanceView,
    OperatorView,
    ReleaseView,
    RolloutView,
)


def environment_view(row: EnvironmentRow) -> EnvironmentView:
    environment = row.environment
    return EnvironmentView(
        name=environment.name,
        hosts=environment.hosts,
        edges=environment.edges,
        policy=environment.policy,
        version=environment.version,
        current=environment.current,
        previous=environment.previous,
        active_rollout=row.active,
        applied_by=row.applied_by,
        applied_at=row.applied_at,
        follow=follow_view(row),
        runs=dict(row.runs),
        route=environment.route,
    )


def follow_view(row: EnvironmentRow) -> FollowView | None:
    if row.follow is None:
        return None
    return FollowView(
        rule=row.follow,
        last_look=row.followed.looked_at or None,
        last_error=row.followed.error,
        tags=row.followed.tags,
    )


def release_view(row: ReleaseRow) -> ReleaseView:
    return ReleaseView(release=row.release, created_by=row.created_by, created_at=row.created_at)


def rollout_view(rollout: Rollout) -> RolloutView:
    return RolloutView(
        id=rollout.id,
        environment=rollout.environment,
        kind=Kind(rollout.kind),
        state=State(rollout.state),
        active=rollout.active,
        target=rollout.target,
        source=rollout.source,
        policy=rollout.policy,
        version=rollout.version,
        progress=rollout.progress,
        created_at=rollout.created_at,
        state_since=rollout.state_since,
        deadline_at=rollout.deadline_at,
        created_by=rollout.created_by,
        reason=rollout.reason,
        cause=rollout.cause,
        approved=rollout.approved,
        paused_from=rollout.paused_from,
        blocker=rollout.blocker,
        allowed=tuple(str(command) for command in allowed(rollout)),
        restart=rollout.restart,
    )


def event_view(event: Event) -> EventView:
    return EventView(
        id=event.id,
        environment=event.environment,
        rollout=event.rollout,
        kind=event.kind,
        message=event.message,
        at=event.at,
        data=dict(event.data),
    )


def operator_view(row: OperatorRow) -> OperatorView:
    return OperatorView(
        name=row.name,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )


def instance_view(environment: str, instance: Instance, host: Host | None = None) -> InstanceView:
    present = whole(host.environ) if host is not None else ""
    return InstanceView(
        environment=environment,
        host=instance.host,
        slot=instance.slot,
        version=instance.spec.version,
        digest=instance.spec.digest,
        goal=instance.goal,
        phase=instance.phase,
        address=instance.address,
        admitted=instance.member is not None,
        available=instance.available,
        drained=instance.drained,
        silent=instance.silent,
        since=instance.since,
        detail=instance.detail,
        restarts=instance.restarts,
        environment_changed=bool(present and instance.environ) and present != instance.environ,
    )


def host_view(environment: str, host: Host, row: HostRow | None, fleet: Fleet) -> HostView:
    heard = row is not None and (row.report is not None or row.unread is not None)
    return HostView(
        environment=environment,
        name=host.name,
        silent=host.silent,
        silent_s=host.silent_s if heard else None,
        settled=host.settled,
        agent_version=host.agent_version,
        agent=host.agent,
        protocol=host.protocol,
        pulls=host.pulls,
        images=tuple(sorted(host.images)),
        image_errors=tuple(f"{image.digest}: {image.error}" for image in host.image_errors),
        runtime_error=host.runtime_error,
        drained=host.drained,
        behind=host.behind,
        unread=host.unread,
        agent_id=host.holder,
        second_agent=host.rival,
        instances=tuple(
            instance_view(environment, instance, host)
            for instance in fleet.instances
            if instance.host == host.name
        ),
    )
