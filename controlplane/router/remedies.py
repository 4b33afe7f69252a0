"""What is done when a host or a part of the truth is lost for good, over HTTP."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from controlplane.domain.errors import Invalid, TruthWentBack
from controlplane.domain.routing import Published
from controlplane.ports.lease import Reason
from controlplane.router.control import Control
from controlplane.wire import (
    AcceptTruth,
    HostAnswer,
    HostOrder,
    LeaderView,
    LeadView,
    TruthAccepted,
)


class TruthController(Controller):
    """Who leads, and going on after PostgreSQL went back in time."""

    path = "/environments/{name:str}"

    @get("/leader")
    async def show_leader(self, control: NamedDependency[Control], name: FromPath[str]) -> LeadView:
        """Who leads, and why somebody who could lead does not."""
        await control.ledger.environment(name)
        lease = control.lease(name)
        holder, reason = await lease.holder(), await lease.reason()
        return LeadView(
            environment=name,
            leader=None if holder is None else LeaderView(holder=holder[0], epoch=holder[1]),
            reason_code=reason.code if reason else "",
            reason=reason.sentence if reason else "",
        )

    @post("/accept-truth", status_code=200)
    async def accept_truth(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        name: FromPath[str],
        data: JSONBody[AcceptTruth],
    ) -> TruthAccepted:
        """Go on from what PostgreSQL says, after a restore or a failover that lost commits."""
        if data.confirm != name:
            raise Invalid(f"confirm: say {name!r} once more, to be sure that this one is meant.")
        async with control.routing(name) as routing:
            known = await routing.published() or Published(0, 0)
        lease = control.lease(name)
        holder, said = await lease.holder(), await lease.reason()
        known = Published(max(known.epoch, holder[1] if holder else 0), known.revision)
        behind = said is not None and said.code == TruthWentBack.code
        now = await control.ledger.accept_truth(name, known, actor, data.reason, behind=behind)
        # The same command again finds nothing to accept.
        await lease.give_reason(Reason(actor, "accepted", "The truth was accepted."), 0.001)
        await control.nudge(name)
        return TruthAccepted(environment=name, epoch=now.epoch, revision=now.revision)


class HostController(Controller):
    """Emptying a host, and taking out one that is gone for good."""

    path = "/hosts/{environment:str}/{host:str}"

    @post("/drain", status_code=200)
    async def drain_host(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        environment: FromPath[str],
        host: FromPath[str],
        data: JSONBody[HostOrder],
    ) -> HostAnswer:
        """Let the host carry no instances: they leave one batch after the other."""
        return await _mark(control, environment, host, actor, data.reason, drained=True)

    @post("/release", status_code=200)
    async def release_host(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        environment: FromPath[str],
        host: FromPath[str],
        data: JSONBody[HostOrder],
    ) -> HostAnswer:
        """Let a drained host carry instances again."""
        return await _mark(control, environment, host, actor, data.reason, drained=False)

    @post("/forget", status_code=200)
    async def forget_host(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        environment: FromPath[str],
        host: FromPath[str],
        data: JSONBody[HostOrder],
    ) -> HostAnswer:
        """Take out a host that is gone for good; refused while its agent speaks."""
        await control.ledger.forget_host(environment, host, actor, data.reason)
        await control.nudge(environment)
        return HostAnswer(environment=environment, host=host, changed=True)


async def _mark(
    control: Control, environment: str, host: str, actor: str, reason: str, *, drained: bool
) -> HostAnswer:
    changed = await control.ledger.drain_host(environment, host, actor, reason, drained=drained)
    await control.nudge(environment)
    return HostAnswer(environment=environment, host=host, changed=changed)
