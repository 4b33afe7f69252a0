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

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(m.address for m in self.members)


@dataclass(frozen=True, slots=True)
class Published:
    """What the edges' store says of the table that is in place: who wrote it, and which.

    Not `whole` when something of it is missing there.
    """

    epoch: int
    revision: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class EdgeReading:
    """What one edge answered when asked which table is live; a revision of None: it did not say.

    `servers` are the addresses that it sends traffic to, `down` those of them that it cannot reach
    by its own checks, `untried` those that it has not checked yet. `unconfirmed_s`: for how long
    it has not confirmed the intended table, by the leader's own clock. `cause`: what is known to
    keep edges from following.
    """

    edge: str
    revision: int | None
    error: str = ""
    servers: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()
    untried: frozenset[str] = frozenset()
    unconfirmed_s: float = 0.0
    cause: str = ""

    def confirms(self, table: Table) -> bool:
        """The edge serves this table: its revision, and the very addresses in it."""
        return self.revision == table.revision and self.servers == table.addresses
