"""Whether PostgreSQL still says all that it has said: a restore or a failover may take it back.

Redis and the agents remember what PostgreSQL issued. None of them can be ahead of it otherwise.
"""

from __future__ import annotations

from controlplane.domain.routing import EdgeReading, Published

LEAP = 1_000_000


def went_back(epoch: int, revision: int | None, published: Published | None, obeyed: int) -> str:
    """The sentence that says so, or "".

    `epoch` was issued last and `revision` is the table's (None: not looked at); `published` is
    what Redis holds and `obeyed` the highest epoch that an agent reported.
    """
    if published is not None and published.epoch > epoch:
        return _sentence(f"epoch {published.epoch}", "Redis", f"epoch {epoch}")
    if obeyed > epoch:
        return _sentence(f"epoch {obeyed}", "an agent", f"epoch {epoch}")
    if published is not None and revision is not None and published.revision > revision:
        known = f"routing table {published.revision}"
        return _sentence(known, "Redis or an edge", f"table {revision}")
    return ""


def latest(readings: tuple[EdgeReading, ...]) -> Published | None:
    """The latest table that an edge serves, whoever wrote it; None when no edge says so."""
    served = [r.revision for r in readings if r.revision is not None]
    return Published(0, max(served)) if served else None


def beyond(epoch: int, revision: int) -> Published:
    """Where things go on from after the truth went back, above whatever was issued since.

    Not all who know what was issued can be asked: a silent agent, an edge that is down. So it is
    a leap, and no count: nobody issues a million of either between a backup and its restore.
    """
    return Published(epoch + LEAP, revision + LEAP)


def _sentence(known: str, who: str, said: str) -> str:
    return (
        f"PostgreSQL went back in time: {who} knows {known} and PostgreSQL says {said}, as after a"
        " restore or a failover that lost commits. Instances keep serving and nothing is decided"
        " until an operator accepts what PostgreSQL says now: camp env accept-truth ENVIRONMENT."
    )
