"""What is read for a decision and written after it, as values."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.goals import AgentGoal, Job, SlotGoal
from controlplane.domain.model import Environment, Release, Rollout
from controlplane.domain.reports import HostReport, Unread
from controlplane.domain.routing import Table

# Facts are compared at commit, but silence is not a fact that anybody writes: an old look may
# take a host for alive that has fallen silent since.
LOOK_VALID_S = 2.0


# Of each kind, in one transaction: the environment's row is held meanwhile.
SWEPT_ROWS = 500
# A claimant asks once a second; who has not asked for so long has given up.
CLAIM_VALID_S = 5.0


@dataclass(frozen=True, slots=True)
class Rival:
    """Another agent that claims a host: without a break `since`, last `at` (database time)."""

    agent: str
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host as stored. Versions count changes; `seen_at` moves with every report.

    `report` is None before the first one, and when the last is `unread`. `holder` is the id of the
    agent whose reports count, "" before the first claim.
    """

    name: str
    desired_version: int
    images: tuple[Release, ...]
    report: HostReport | None
    report_version: int
    seen_at: float
    agent: AgentGoal | None = None
    drained: bool = False
    behind: bool = False
    unread: Unread | None = None
    holder: str = ""
    rival: Rival | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent look at an environment; `now` is database time in seconds.

    `rollout` is the active one, or None. `led_at` is when somebody led last, as far as was noted;
    0 before the first leader. `lost_edges` have not confirmed a table for long.
    """

    now: float
    environment: Environment
    rollout: Rollout | None
    slots: tuple[SlotGoal, ...]
    hosts: tuple[HostRow, ...]
    table: Table
    jobs: tuple[Job, ...]
    schema: frozenset[str]
    led_at: float = 0.0
    retired: frozenset[str] = frozenset()
    lost_edges: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Changes:
    """What one step writes, all or nothing.

    `slots` are upserts, `freed` deletes; hosts named in either, in `images` (the new whole list
    of a host), in `jobs` or in `agents` get a new desired version. `events` are (kind, message)
    for the log. `held`: the release the environment now runs, and the one to go back to. `moves`
    is false when only the explanation of a wait has changed. `behind`: hosts that were away when
    the release was reached, or have caught up. `detail`: how far what the rollout waits for has
    come, written into its row without a new version; None leaves it. `lost_edges`: the new
    whole set.
    """

    rollout: Rollout | None = None
    slots: tuple[SlotGoal, ...] = ()
    freed: tuple[tuple[str, int], ...] = ()
    images: tuple[tuple[str, tuple[Release, ...]], ...] = ()
    jobs: tuple[Job, ...] = ()
    table: Table | None = None
    events: tuple[tuple[str, str], ...] = ()
    held: tuple[Release, Release | None] | None = None
    moves: bool = True
    agents: tuple[tuple[str, AgentGoal], ...] = ()
    behind: tuple[tuple[str, bool], ...] = ()
    detail: str | None = None
    lost_edges: frozenset[str] | None = None
