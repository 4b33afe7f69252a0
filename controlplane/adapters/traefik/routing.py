"""Traefik edges that follow keys in Redis, and that are believed only when they answer.

Seen with Traefik 3.7 on two cores: from the write to the confirmation some 90 ms (median), under
load up to half a second. Hundreds of tables in a few seconds, confirmed or not, lose no request
and cut no stream; new servers get traffic from the first request on, before any check of them.
A dead server costs nothing but the requests that it had; one that fails its check gets no more
after at most one interval. With all servers failing the check Traefik answers 503, with all dead
502. Redis gone or emptied: the last table stays until the next is written.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from controlplane.adapters.redis.client import translated
from controlplane.adapters.traefik.table import (
    REVISION_HEADER,
    SCHEME,
    Names,
    checked_s,
    render,
    revision_key,
)
from controlplane.domain.errors import Fenced, Stale
from controlplane.domain.route import EVERYTHING, Route
from controlplane.domain.routing import EdgeReading, Published, Table

READING_TIMEOUT_S = 1.0

WRITTEN, FENCED, STALE = 0, 1, 2
# Traefik keeps its last configuration when all keys below its root are gone: a middleware that
# nobody uses is left for a while, so that the last environment leaves it, too.
MARKED = """
local MARK = '/http/middlewares/camp-none/headers/customrequestheaders/X-Camp-Table'
local MARK_S = 60
"""
# One script: Traefik's MGET never sees half a table, and no write of an older leader, nor a late
# one of our own that hung in a socket, slips in between comparison and writing. Only keys that
# differ are written, because every written key makes Traefik read everything twice.
PUBLISH = (
    MARKED
    + """
local epoch, revision = tonumber(ARGV[1]), tonumber(ARGV[2])
local written_epoch = tonumber(redis.call('GET', KEYS[1]) or '0')
local written_revision = tonumber(redis.call('GET', KEYS[2]) or '0')
if written_epoch > epoch then return {1, written_epoch} end
if written_epoch == epoch and written_revision > revision then return {2, written_revision} end
local wanted = {}
for i = 4, #ARGV, 2 do
  local key, value = ARGV[i], ARGV[i + 1]
  wanted[key] = true
  if redis.call('GET', key) ~= value then redis.call('SET', key, value) end
  redis.call('SADD', KEYS[3], key)
end
for _, key in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if not wanted[key] then
    redis.call('DEL', key)
    redis.call('SREM', KEYS[3], key)
    local root = string.match(key, '^(.-)/http/')
    if root ~= ARGV[3] then redis.call('SET', root .. MARK, '0', 'EX', MARK_S) end
  end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
return {0, revision}
"""
)


# The keys are looked for where they are: a table of ten thousand servers costs some milliseconds.
PUBLISHED = """
local epoch, revision = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if not epoch and not revision then return false end
local keys = redis.call('SMEMBERS', KEYS[3])
local whole = revision and #keys > 0
for first = 1, #keys, 1000 do
  local last = math.min(first + 999, #keys)
  whole = whole and redis.call('EXISTS', unpack(keys, first, last)) == last - first + 1
end
return {epoch or '0', revision or '0', whole and '1' or '0'}
"""
# Traefik looks again at any event below its root key. Where Redis tells of none, we tell of it:
# the same message, which is all that Traefik has ever subscribed to.
TOUCH = """
local value = redis.call('GET', KEYS[1])
if not value then return 0 end
redis.call('SET', KEYS[1], value)
redis.pcall('PUBLISH', ARGV[1], 'set')
return 1
"""
NOTIFY = "notify-keyspace-events"
# The epoch stays for longer than any leader can believe in its lease, then an environment of the
# same name may begin anew.
WITHDRAW = (
    MARKED
    + """
local epoch = tonumber(ARGV[1])
local written_epoch = tonumber(redis.call('GET', KEYS[1]) or '0')
if written_epoch > epoch then return {1, written_epoch} end
for _, key in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  redis.call('SET', string.match(key, '^(.-)/http/') .. MARK, '0', 'EX', MARK_S)
  redis.call('DEL', key)
end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('SET', KEYS[1], ARGV[1], 'EX', MARK_S)
return {0, epoch}
"""
)


class NotServing(Exception):
    """What an edge said instead of a revision."""


@dataclass(slots=True)
class Checks:
    """What an edge's own checks have shown so far.

    All servers count as up in each new configuration, until they are checked again: what it says
    is the outcome of a check only when the configuration has stood for long enough.
    """

    revision: int = -1
    since: float = 0.0
    tried: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()

    def note(
        self, revision: int, servers: frozenset[str], down: frozenset[str], now: float
    ) -> None:
        """Take in a reading made at `now`, on any clock."""
        if revision != self.revision:
            self.revision, self.since = revision, now
        checked = now - self.since >= checked_s(len(servers))
        self.down = down if checked else (self.down & servers) | down
        self.tried = servers - down if checked else (self.tried & servers) - down


class TraefikRouting:
    """One environment's table in the store that its edges follow; edges are API base URLs."""

    def __init__(
        self,
        client: Redis,
        environment: str,
    ) -> None:
        self._client = client
        self._names = Names(environment)
        self._keys = [
            f"camp:{environment}:routing:{name}" for name in ("epoch", "revision", "keys")
        ]
        self._publish = client.register_script(PUBLISH)
        self._published = client.register_script(PUBLISHED)
        self._touch = client.register_script(TOUCH)
        self._withdraw = client.register_script(WITHDRAW)
        self._checks: dict[str, Checks] = {}
        self._http = httpx.AsyncClient(trust_env=False, timeout=READING_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections to the edges; the Redis client is its owner's."""
        await self._http.aclose()

    async def publish(self, table: Table, epoch: int, route: Route = EVERYTHING) -> None:
        """Replace the whole table at once; an emptied store is seeded with this epoch.

        Raises Fenced when a higher epoch wrote, Stale when this epoch wrote a higher revision,
        BusUnavailable.
        """
        pairs = [part for pair in render(table, self._names, route).items() for part in pair]
        with translated("write the routing table"):
            outcome, found = await self._publish(
                keys=self._keys, args=[epoch, table.revision, route.root, *pairs]
            )
        if outcome == FENCED:
            raise _fenced(found, epoch)
        if outcome == STALE:
            raise Stale(
                f"Routing is at revision {found} already, not {table.revision}: look again."
            )

    async def withdraw(self, epoch: int) -> None:
        """Take the environment off its edges for good. Raises Fenced, BusUnavailable."""
        with translated("remove the routing table"):
            outcome, found = await self._withdraw(keys=self._keys, args=[epoch])
        if outcome == FENCED:
            raise _fenced(found, epoch)

    async def published(self) -> Published | None:
        """What is in the store; None when it was emptied."""
        with translated("read which routing table is in place"):
            found = await self._published(keys=self._keys)
        if found is None:
            return None
        epoch, revision, whole = map(int, found)
        return Published(epoch, revision, bool(whole))

    async def touch(self, route: Route = EVERYTHING) -> None:
        """Set a key to its own value, so that edges which missed a change look again."""
        key = revision_key(self._names, route)
        database = self._client.connection_pool.connection_kwargs.get("db", 0)
        with translated("wake the edges"):
            await self._touch(keys=[key], args=[f"__keyspace@{database}__:{key}"])

    async def lacking(self) -> str:
        """Redis tells of changed keys only when it is set to; "" where it will not say."""
        with translated("read its settings"):
            try:
                found = await self._client.config_get(NOTIFY)
            except ResponseError:
                return ""  # many hosted ones refuse CONFIG
        flags = found.get(NOTIFY) or ""
        if "K" in flags and ("A" in flags or ("g" in flags and "$" in flags)):
            return ""
        return (
            f"Redis does not tell edges of changed keys ({NOTIFY} is {flags!r}): set it with"
            f" CONFIG SET {NOTIFY} KEA and in Redis' configuration."
        )

    async def readings(self, edges: tuple[str, ...]) -> tuple[EdgeReading, ...]:
        """Ask each of these edges what it serves; one that fails says None."""
        return tuple(await asyncio.gather(*(self._reading(edge) for edge in edges)))

    async def _reading(self, edge: str) -> EdgeReading:
        try:
            async with asyncio.timeout(READING_TIMEOUT_S):
                router, table, service = await asyncio.gather(
                    self._ask(edge, f"routers/{self._names.name}"),
                    self._ask(edge, f"middlewares/{self._names.table_name}"),
                    self._ask(edge, f"services/{self._names.name}"),
                )
            servers, down = served(service)
            revision = served_revision(router, table)
            checks = self._checks.setdefault(edge, Checks())
            checks.note(revision, servers, down, asyncio.get_running_loop().time())
            untried = servers - checks.tried - checks.down
            return EdgeReading(edge, revision, "", servers, checks.down, untried)
        except NotServing as answer:
            return EdgeReading(edge, None, str(answer))
        except TimeoutError:
            return EdgeReading(edge, None, f"no answer within {READING_TIMEOUT_S:g} s")
        except httpx.HTTPError as error:
            return EdgeReading(edge, None, f"not reachable ({type(error).__name__})")
        except (ValueError, KeyError, TypeError, AttributeError):
            return EdgeReading(edge, None, "answered something that is not Traefik's API")

    async def _ask(self, edge: str, what: str) -> Any:
        answer = await self._http.get(f"{edge.rstrip('/')}/api/http/{what}@redis")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotServing("has no table of this environment yet")
        if answer.status_code != httpx.codes.OK:
            raise NotServing(f"its API answered {answer.status_code}")
        return answer.json()


def _fenced(found: int, epoch: int) -> Fenced:
    return Fenced(f"Routing was written in epoch {found}, ours is {epoch}: a newer leader exists.")


def served_revision(router: Any, table: Any) -> int:
    """The revision in Traefik's answers about our router and our table middleware.

    Raises NotServing when Traefik refused the router: a bad rule, an unknown entry point.
    """
    if router["status"] != "enabled":
        reasons = "; ".join(router.get("error", ())) or "it says no reason"
        raise NotServing(f"refuses the route: {reasons}")
    return int(table["headers"]["customRequestHeaders"][REVISION_HEADER])


def served(service: Any) -> tuple[frozenset[str], frozenset[str]]:
    """The addresses that Traefik sends traffic to, and those of them that fail its checks."""
    urls = [server["url"] for server in service["loadBalancer"].get("servers", ())]
    status = service.get("serverStatus", {})
    down = [url for url in urls if status.get(url) == "DOWN"]
    return _addresses(urls), _addresses(down)


def _addresses(urls: list[str]) -> frozenset[str]:
    return frozenset(url.removeprefix(SCHEME) for url in urls)
