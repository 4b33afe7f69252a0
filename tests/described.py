"""What the OpenAPI document says that a route may answer."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx

from camp.asgi import create_app
from camp.config.settings import Settings

METHODS = ("get", "post", "put", "patch", "delete")


def document(made: Settings) -> dict[str, Any]:
    """The description that the service gives of itself."""
    described: dict[str, Any] = create_app(made).openapi_schema.to_schema()
    return described


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation by method and path, without those of the control plane."""
    return {
        (method, path): item[method]
        for path, item in described["paths"].items()
        for method in METHODS
        if method in item and not path.startswith("/control")
    }


@cache
def _statuses(made: Settings) -> list[tuple[str, re.Pattern[str], set[int]]]:
    return [
        (
            method.upper(),
            re.compile(re.sub(r"\{\w+\}", "[^/]+", path)),
            {int(status) for status in operation["responses"]},
        )
        for (method, path), operation in operations(document(made)).items()
    ]


def require_described(made: Settings, response: httpx.Response) -> None:
    """Fails when a route gave an answer that its description does not name."""
    request = response.request
    path = request.url.path.rstrip("/") or "/"
    for method, pattern, statuses in _statuses(made):
        if request.method == method and pattern.fullmatch(path):
            assert response.status_code in statuses, f"{method} {path}: {response.status_code}"
            return
