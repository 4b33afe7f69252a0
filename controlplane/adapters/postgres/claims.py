"""Who works for a host: one agent at a time, by its id.

Text, as the store's other statements.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.domain.claims import claim
from controlplane.domain.errors import NotFound
from controlplane.domain.model import Policy
from controlplane.domain.records import HostRow

# Locked, so that of two claimants the second sees the first.
CLAIMED = text("""
SELECT json_build_object(
    'now', extract(epoch FROM clock_timestamp()),
    'policy', e.policy,
    'row', json_build_object(
        'name', h.name, 'desired_version', 0, 'images', json_build_array(), 'report', NULL,
        'report_version', 0, 'seen_at', coalesce(extract(epoch FROM h.seen_at), 0),
        'holder', h.holder, 'rival', h.rival))::text
FROM hosts h JOIN environments e ON e.name = h.environment
WHERE h.environment = :environment AND h.name = :host
FOR NO KEY UPDATE OF h
""")

PUT_CLAIM = text("""
UPDATE hosts SET holder = :holder, rival = CAST(CAST(:rival AS text) AS jsonb)
WHERE environment = :environment AND name = :host
""")


class _Claimed(msgspec.Struct):
    now: float
    policy: Policy
    row: HostRow


_claimed = msgspec.json.Decoder(_Claimed)


async def put_claim(connection: AsyncConnection, environment: str, host: str, agent: str) -> str:
    """The id of the agent that has the host once this one has asked for it. Raises NotFound."""
    mine = {"environment": environment, "host": host}
    found = await connection.scalar(CLAIMED, mine)
    if found is None:
        raise NotFound(f"{environment} has no host {host}.")
    seen = _claimed.decode(found)
    holder, rival = claim(seen.row, agent, seen.policy.host_silence_s, seen.now)
    said = None if rival is None else msgspec.json.encode(rival).decode()
    await connection.execute(PUT_CLAIM, mine | {"holder": holder, "rival": said})
    return holder
