"""Whether hosts speak, each with one agent, and start instances alike."""

from __future__ import annotations

from controlplane.domain.bounds import quarantined
from controlplane.domain.environs import differences
from controlplane.domain.fleet import Fleet, Host
from controlplane.domain.gates.waits import Wait
from controlplane.domain.model import Kind, Policy, Rollout
from controlplane.domain.protocol import PROTOCOL, skewed


def silence(fleet: Fleet, policy: Policy) -> Wait | None:
    """Silent hosts beyond what max_unavailable lets us do without."""
    silent = [h for h in fleet.hosts if h.silent]
    if not silent:
        return None
    away = quarantined(policy, fleet)
    missed = [h for h in silent if h.name not in away]
    return unheard(missed) if missed else None


def claims(rollout: Rollout, fleet: Fleet) -> Wait | None:
    """One agent for each host: a second one is refused, and somebody takes it for at work.

    It does no harm, so it does not stand in the way back.
    """
    host = next((h for h in fleet.hosts if h.rival), None)
    if host is None or rollout.kind is Kind.ROLLBACK:
        return None
    return Wait(
        "host_claimed_twice",
        f"A second agent, {host.rival}, claims {host.name} and is refused, because {host.holder}"
        " has it.",
        ("stop the second agent, or give it another --host", "abort"),
    )


def environments(fleet: Fleet) -> Wait | None:
    """Instances start with the same variables on every host, or users would notice which one."""
    found = differences(fleet.hosts) if fleet.one_environment else ()
    if not found:
        return None
    named = "; ".join(f"{variable} on {', '.join(hosts)}" for variable, hosts in found)
    return Wait(
        "environment_differs",
        f"Instances would not start with the same variables everywhere: {named} is not as on the"
        " other hosts.",
        ("give all hosts the same values, and start their agents again", "abort"),
    )


def unheard(silent: list[Host]) -> Wait:
    unread = next((h for h in silent if h.unread and not skewed(h.protocol)), None)
    if unread is not None:
        return Wait(
            "protocol_skew",
            f"The leader cannot read what the agent of {unread.name} reports ({unread.unread});"
            " its instances keep serving.",
            (f"replace the agent of {unread.name}", "pause", "rollback", "abort"),
        )
    apart = [h for h in silent if skewed(h.protocol)]
    if apart:
        return Wait(
            "protocol_skew",
            f"The agent of {apart[0].name} speaks protocol {apart[0].protocol} and the leader"
            f" {PROTOCOL}, and only neighbouring ones understand each other; its instances keep"
            " serving.",
            (f"replace the agent of {apart[0].name}", "pause", "rollback", "abort"),
        )
    broken = next((h for h in silent if h.runtime_error), None)
    if broken is not None:
        return Wait(
            "runtime_unavailable",
            f"{broken.name} cannot see its instances, which may still serve: "
            f"{broken.runtime_error}",
            ("repair what runs its instances", "pause", "rollback", "abort"),
        )
    names = ", ".join(h.name for h in silent)
    return Wait(
        "host_silent",
        f"No report comes from the agent of {names}; its instances keep serving.",
        ("start the agent there", "pause", "rollback", "abort"),
    )
