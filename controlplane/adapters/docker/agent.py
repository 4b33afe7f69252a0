"""The container of an agent's successor, made from the agent's own: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from controlplane.adapters.docker.container import Placement, local_tag
from controlplane.domain.goals import AgentGoal

# Docker mounts these files of a container's own folder into every container.
OWN_FILE = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)\s")
VERSION = "org.opencontainers.image.version"
NO_RESTART = {"Name": "no"}


def own_id(mountinfo: str) -> str:
    """The id of the container that this process runs in; empty outside of containers."""
    found = OWN_FILE.search(mountinfo)
    return found[1] if found else ""


def obstacle(own: Mapping[str, Any], folder: str) -> str:
    """Why the container's agent could not be succeeded; empty when it could."""
    if own["HostConfig"].get("AutoRemove"):
        return (
            "its container is removed when it ends (--rm), and with it the way back."
            " Start it without --rm."
        )
    wanted = PurePosixPath(folder)
    if not any(wanted.is_relative_to(mount["Destination"]) for mount in own.get("Mounts", ())):
        return (
            f"its folder {folder} is inside of its container, where a successor finds nothing."
            " Put --folder on a volume."
        )
    return ""


def goal_label(goal: AgentGoal) -> str:
    return repr(goal.since)


def successor_name(placement: Placement, goal: AgentGoal) -> str:
    return f"{placement.prefix}-agent-{goal.since:.3f}"


def successor_config(
    placement: Placement, own: Mapping[str, Any], image: Mapping[str, Any], goal: AgentGoal
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The successor as the engine's API wants it, and the networks to connect it to afterwards.

    `own` and `image` are the predecessor's container and image as the engine inspects them. What
    came from the old image is left to the new one; what somebody set stays. It does not restart:
    a successor that fails must be seen to fail.
    """
    mine, theirs = own["Config"], image["Config"] or {}
    inherited = set(theirs.get("Env") or ())
    labels = {
        name: value
        for name, value in (mine.get("Labels") or {}).items()
        if (theirs.get("Labels") or {}).get(name) != value
    }
    made = {
        "Image": local_tag(placement, goal.release.digest),
        "Env": [pair for pair in mine.get("Env") or () if pair not in inherited],
        "Labels": labels
        | {
            **placement.labels,
            "camp.agent.goal": goal_label(goal),
            "camp.agent.digest": goal.release.digest,
            "camp.agent.predecessor": own["Id"],
        },
        "HostConfig": own["HostConfig"] | {"RestartPolicy": NO_RESTART},
    }
    for name in ("Cmd", "Entrypoint", "User", "WorkingDir", "Healthcheck", "StopSignal"):
        if mine.get(name) and mine[name] != theirs.get(name):
            made[name] = mine[name]
    first, *others = _networks(own) or [""]
    if first:
        made["NetworkingConfig"] = {"EndpointsConfig": {first: {}}}
    return made, tuple(others)


def _networks(own: Mapping[str, Any]) -> list[str]:
    """The named networks that can be joined, the one of its mode first."""
    mode = own["HostConfig"].get("NetworkMode", "default")
    if mode in ("default", "bridge", "host", "none") or mode.startswith("container:"):
        return []
    return sorted(own["NetworkSettings"].get("Networks") or (), key=lambda name: name != mode)
