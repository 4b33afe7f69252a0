"""Which edges a decision waits for, and which it may do without."""

from __future__ import annotations

from controlplane.domain.model import EdgesRequired, Policy
from controlplane.domain.routing import EdgeReading, Table

Readings = tuple[EdgeReading, ...]


def behind(readings: Readings, table: Table) -> Readings:
    """The edges that do not confirm the table."""
    return tuple(r for r in readings if not r.confirms(table))


def lost(unconfirmed: Readings, known: frozenset[str], policy: Policy) -> Readings:
    """Those that have not confirmed for too long; who was lost before stays so until it confirms.

    `known` are the lost edges by the last leader's word, which no new leader has to wait for.
    """
    return tuple(
        r for r in unconfirmed if r.unconfirmed_s > policy.edge_silence_s or r.edge in known
    )


def required(unconfirmed: Readings, gone: Readings, policy: Policy, edges: int) -> Readings:
    """The unconfirmed edges that must confirm before anything is taken away from them.

    Of `edges` edges at least one must confirm, whatever the policy says.
    """
    if policy.edges_required is EdgesRequired.ALL or len(gone) == edges:
        return unconfirmed
    return tuple(r for r in unconfirmed if r not in gone)
