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
from types import TracebackType
from typing import Any, Self

import httpx
from redis.asyncio import Redis

from controlplane.adapters.redis.client import translated
from controlplane.adapters.traefik.table import REVISION_HEADER, Route, render
from controlplane.domain.errors import Fenced, Stale
from controlplane.domain.routing import EdgeReading, Published, Table

READING_TIMEOUT_S = 1.0

WRITTEN, FENCED, STALE = 0, 1, 2
# One script: Traefik's MGET never sees half a table, and no write of an older leader, nor a late
# one of our own that hung in a socket, slips in between comparison and writing. Only keys that
# differ are written, because every written key makes Traefik read everything twice.
PUBLISH = """
local epoch, revision = tonumber(ARGV[1]), tonumber(ARGV[2])
local written_epoch = tonumber(redis.call('GET', KEYS[1]) or '0')
local written_revision = tonumber(redis.call('GET', KEYS[2]) or '0')
if written_epoch > epoch then return {1, written_epoch} end
if written_epoch == epoch and written_revision > revision then return {2, written_revision} end
local wanted = {}
for i = 3, #ARGV, 2 do
  local key, value = ARGV[i], ARGV[i + 1]
  wanted[key] = true
  if redis.call('GET', key) ~= value then redis.call('SET', key, value) end
  redis.call('SADD', KEYS[3], key)
end
for _, key in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if not wanted[key] then
    redis.call('DEL', key)
    redis.call('SREM', KEYS[3], key)
  end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
return {0, revision}
"""


class NotServing(Exception):
    """What an edge said instead of a revision."""


class TraefikRouting:
    """One environment's table in the store that its edges follow; edges are API base URLs."""

    def __init__(
        self,
        client: Redis,
        environment: str,
        *,
        root: str = "traefik",
        entry_point: str = "web",
        rule: str = "PathPrefix(`/`)",
    ) -> None:
        self._client = client
        self._route = Route(environment, root, entry_point, rule)
        self._environment = environment
        self._keys = [_key(environment, name) for name in ("epoch", "revision", "keys")]
        self._publish = client.register_script(PUBLISH)
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

    async def publish(self, table: Table, epoch: int) -> None:
        """Replace the whole table at once; an emptied store is seeded with this epoch.

        Raises Fenced when a higher epoch wrote, Stale when this epoch wrote a higher revision,
        BusUnavailable.
        """
        pairs = [part for pair in render(table, self._route).items() for part in pair]
        with translated("write the routing table"):
            outcome, found = await self._publish(
                keys=self._keys, args=[epoch, table.revision, *pairs]
            )
        if outcome == FENCED:
            raise Fenced(
                f"Routing was written in epoch {found}, ours is {epoch}: a newer leader exists."
            )
        if outcome == STALE:
            raise Stale(
                f"Routing is at revision {found} already, not {table.revision}: look again."
            )

    async def published(self) -> Published | None:
        """What is in the store; None when the store was emptied."""
        return await published(self._client, self._environment)

    async def readings(self, edges: tuple[str, ...]) -> tuple[EdgeReading, ...]:
        """Ask each of these edges which revision it serves; one that fails says None."""
        return tuple(await asyncio.gather(*(self._reading(edge) for edge in edges)))

    async def _reading(self, edge: str) -> EdgeReading:
        try:
            async with asyncio.timeout(READING_TIMEOUT_S):
                router, table = await asyncio.gather(
                    self._ask(edge, f"routers/{self._route.name}"),
                    self._ask(edge, f"middlewares/{self._route.table_name}"),
                )
            return EdgeReading(edge, served_revision(router, table))
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


async def published(client: Redis, environment: str) -> Published | None:
    """Epoch and revision of the table in the store; None when the store was emptied.

    Raises BusUnavailable.
    """
    with translated("read which routing table is in place"):
        keys = [_key(environment, name) for name in ("epoch", "revision")]
        epoch, revision = await client.mget(keys)
    return None if revision is None else Published(int(epoch or 0), int(revision))


def _key(environment: str, name: str) -> str:
    return f"camp:{environment}:routing:{name}"


def served_revision(router: Any, table: Any) -> int:
    """The revision in Traefik's answers about our router and our table middleware.

    Raises NotServing when Traefik refused the router: a bad rule, an unknown entry point.
    """
    if router["status"] != "enabled":
        reasons = "; ".join(router.get("error", ())) or "it says no reason"
        raise NotServing(f"refuses the route: {reasons}")
    return int(table["headers"]["customRequestHeaders"][REVISION_HEADER])
