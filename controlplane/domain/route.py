"""Where an environment appears on its edges, and whose requests it could take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)
PATH = re.compile(r"/|(/[A-Za-z0-9._~-]+)+")
WORD = re.compile(r"[A-Za-z0-9_-]{1,60}")
ROOT = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The requests that an edge sends to an environment: those of a host and below a path.

    `host` is empty for any. `path` is taken off before an instance sees the request. `root` is the
    key in Redis below which the edges look for their configuration.
    """

    entry_point: str = "web"
    host: str = ""
    path: str = "/"
    root: str = "traefik"

    def __str__(self) -> str:
        return f"entry point {self.entry_point}, {self.host or 'any host'}, path {self.path}"


EVERYTHING = Route()
ROUTE_FIELDS = tuple(field.name for field in fields(Route))


def collide(one: Route, other: Route) -> bool:
    """On a common edge there is a request that both would take."""
    return (
        one.entry_point == other.entry_point
        and (not one.host or not other.host or one.host == other.host)
        and (_below(one.path, other.path) or _below(other.path, one.path))
    )


def _below(path: str, above: str) -> bool:
    return (path + "/").startswith(above.rstrip("/") + "/")


def route_of(table: object, problems: list[str]) -> Route:
    """Check a parsed `route` table; what is wrong with it goes to `problems`."""
    if table is None:
        return Route()
    if not isinstance(table, Mapping):
        problems.append("route: must be a table, as in [environments.NAME.route].")
        return Route()
    given = {name: value for name, value in table.items() if name in ROUTE_FIELDS}
    found = [
        f"route.{name}: {value!r} does not do; write {CHECKS[name][1]}."
        for name, value in given.items()
        if not isinstance(value, str) or not CHECKS[name][0].fullmatch(value)
    ]
    if found:
        problems += found
        return Route()
    made = Route(**given)
    return Route(
        entry_point=made.entry_point, host=made.host.lower(), path=made.path, root=made.root
    )


CHECKS = {
    "entry_point": (WORD, "the name of an entry point of the edges, such as web"),
    "host": (HOST, "a host name such as staging.example.org, or leave it out for any"),
    "path": (PATH, "a path such as /staging, without a slash at its end"),
    "root": (ROOT, "the root key of the edges' Redis provider, such as traefik"),
}
