"""What a demo leaves on a Docker engine, found by its environment's name, and its removal."""

from __future__ import annotations

import docker

from controlplane.adapters.docker.engine import CONFLICT, NOT_FOUND, Engine, passing

TIMEOUT_S = 60


def remove(environment: str) -> None:
    """Remove the environment's containers and images. Raises EngineUnavailable, EngineRefused."""
    engine = Engine(timeout_s=TIMEOUT_S)
    try:
        engine.do(lambda client: _remove(client, environment))
    finally:
        engine.close()


def repository(registry: str, environment: str) -> str:
    """Where the environment's images are published."""
    return f"{registry}/{environment}/camp"


def _remove(client: docker.APIClient, environment: str) -> None:
    label = {"label": f"camp.environment={environment}"}
    for container in client.containers(all=True, filters=label):
        with passing(NOT_FOUND, CONFLICT):
            client.remove_container(container["Id"], v=True, force=True)
    for image in client.images():
        for name in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())):
            if environment in name.split("/"):
                with passing(NOT_FOUND, CONFLICT):
                    # What it was built from stays: the next demo's build takes seconds then.
                    client.remove_image(name, noprune=True)
