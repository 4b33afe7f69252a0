"""The addresses that edges should use, and what edges say they use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One address in the routing table and the instance that it stands for."""

    host: str
    slot: int
    address: str


@dataclass(frozen=True, slots=True)
class Table:
    """The addresses that the edges should use; the revision grows with each change."""

    revision: int = 0
    members: frozenset[Member] = frozenset()


@dataclass(frozen=True, slots=True)
class Published:
    """What the edges' store says of the table that is in place: who wrote it, and which."""

    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class EdgeReading:
    """What one edge answered when asked which table is live; None: it did not say."""

    edge: str
    revision: int | None
    error: str = ""
