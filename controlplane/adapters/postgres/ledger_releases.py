"""How a release becomes known, in a transaction of the caller."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.adapters.postgres.rows import plain
from controlplane.adapters.postgres.tables import releases
from controlplane.domain.errors import Conflict
from controlplane.domain.model import Release
from controlplane.domain.naming import check_release


async def put_release(connection: AsyncConnection, release: Release, actor: str) -> bool:
    """False when it is known already. Raises Invalid, and Conflict as the port says."""
    check_release(release)
    values = {
        "version": release.version,
        "digest": release.digest,
        "release": plain(release),
        "created_by": actor,
    }
    added = await connection.execute(
        upsert(releases).values(values).on_conflict_do_nothing().returning(releases.c.version)
    )
    if added.first() is not None:
        return True
    await _same_release(connection, release)
    return False


async def _same_release(connection: AsyncConnection, release: Release) -> None:
    query = select(releases).where(
        (releases.c.version == release.version) | (releases.c.digest == release.digest)
    )
    for row in await connection.execute(query):
        if row.version != release.version:
            raise Conflict(
                f"These bytes are known as release {row.version} already; "
                f"build {release.version} anew, or deploy {row.version}."
            )
        if row.digest != release.digest:
            raise Conflict(
                f"Release {release.version} exists with the digest {row.digest}, and releases "
                "never change; give this build a new version."
            )
