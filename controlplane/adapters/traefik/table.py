"""A routing table as Traefik's keys: a pure function, so that what edges get can be read.

Names do not change from table to table; values do. Traefik lists the names first (SCAN) and
then reads all values at once (MGET), so a table replaced in between is seen with old names and
new values. With a revision in the names, as in `camp-r42`, such a look finds no route at all and
Traefik answers 404 or 503 until its next look. With fixed names it finds the new table, short at
worst of the servers that the new table has more. Few changed keys also mean few events, and
Traefik looks twice for each.

The revision therefore is a value: a middleware sets the request header X-Camp-Table to it. It
arrives with the servers it belongs to, the API shows it, and each instance can see it as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.route import Route
from controlplane.domain.routing import Table

REVISION_HEADER = "X-Camp-Table"
SCHEME = "http://"
HEALTH_PATH = "/health/live"
# The check is for instances that hang: dead ones are found by the retry. It must not find what
# is only slow, for with all servers marked down Traefik answers 503 to everything.
# Small fleets are checked often, because a rollout waits for the first check of a host.
HEALTH_INTERVAL_S = (0.5, 2.0)
CHECKS_A_SECOND = 200
HEALTH_TIMEOUT = "5s"
UNHEALTHY_INTERVAL = "1s"
DIAL_TIMEOUT_S = 1.0
# uvicorn closes a connection that was idle for 5 s. Were Traefik to keep it longer, it would now
# and then write a request into a closing one.
IDLE_TIMEOUT = "3s"
# Each new table makes Traefik take all servers for healthy until the next check, dead ones too.
# A request that could not connect goes to the next server; one that was sent is never repeated.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Names:
    """What an environment's things are called in Traefik: they never change."""

    environment: str

    @property
    def name(self) -> str:
        """The router's, service's and transport's name."""
        return f"camp-{self.environment}"

    @property
    def table_name(self) -> str:
        """The middleware that carries the revision."""
        return f"{self.name}-table"

    @property
    def retry_name(self) -> str:
        return f"{self.name}-retry"

    @property
    def path_name(self) -> str:
        """The middleware that takes the route's path off."""
        return f"{self.name}-path"


def revision_key(names: Names, route: Route) -> str:
    """Where the revision is, among the keys that Traefik follows."""
    middleware = f"{route.root}/http/middlewares/{names.table_name}"
    return f"{middleware}/headers/customrequestheaders/{REVISION_HEADER}"


def rule(route: Route) -> str:
    """The route in Traefik's language, in which a prefix of /a would also be one of /ab."""
    host = f"Host(`{route.host}`) && " if route.host else ""
    if route.path == "/":
        return f"{host}PathPrefix(`/`)"
    return f"{host}(Path(`{route.path}`) || PathPrefix(`{route.path}/`))"


def interval_s(servers: int) -> float:
    """Seconds between two checks of a server: 0.5 up to a hundred servers, 2 from four hundred."""
    least, most = HEALTH_INTERVAL_S
    return min(max(least, servers / CHECKS_A_SECOND), most)


def checked_s(servers: int) -> float:
    """After so many seconds of one configuration, each server that cannot be reached is known."""
    return interval_s(servers) + DIAL_TIMEOUT_S + 0.25


def render(table: Table, names: Names, route: Route) -> dict[str, str]:
    """Every key of the table and its value; an empty table still has a router, which says 503."""
    http = f"{route.root}/http"
    router = f"{http}/routers/{names.name}"
    balancer = f"{http}/services/{names.name}/loadbalancer"
    transport = f"{http}/serverstransports/{names.name}/forwardingtimeouts"
    middlewares = f"{http}/middlewares"
    servers = {
        f"{balancer}/servers/{index}/url": f"{SCHEME}{member.address}"
        for index, member in enumerate(sorted(table.members))
    }
    inner = {}
    if route.path != "/":
        inner[f"{router}/middlewares/2"] = names.path_name
        inner[f"{middlewares}/{names.path_name}/stripprefix/prefixes/0"] = route.path
    return {
        f"{router}/rule": rule(route),
        f"{router}/entrypoints/0": route.entry_point,
        f"{router}/service": names.name,
        f"{router}/middlewares/0": names.table_name,
        f"{router}/middlewares/1": names.retry_name,
        revision_key(names, route): str(table.revision),
        f"{middlewares}/{names.retry_name}/retry/attempts": str(ATTEMPTS),
        f"{balancer}/passhostheader": "true",
        f"{balancer}/serverstransport": names.name,
        f"{balancer}/healthcheck/path": HEALTH_PATH,
        f"{balancer}/healthcheck/interval": f"{1000 * interval_s(len(table.members)):.0f}ms",
        f"{balancer}/healthcheck/timeout": HEALTH_TIMEOUT,
        f"{balancer}/healthcheck/unhealthyinterval": UNHEALTHY_INTERVAL,
        f"{transport}/dialtimeout": f"{DIAL_TIMEOUT_S:g}s",
        f"{transport}/idleconntimeout": IDLE_TIMEOUT,
        **inner,
        **servers,
    }
