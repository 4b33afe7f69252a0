"""What a demo found, as `report.json`, and whether that is what was promised."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from controlplane.demo.measure.load import Failed
from controlplane.domain.model import State
from controlplane.leader.tenure import TTL_S

LEAST_REQUESTS = 10_000
LEAST_STREAMS = 60
LEAST_OPEN = 20
LEAST_READY = 6
FAILOVER_BAR_S = TTL_S + 2.0
EXPECTED = (State.SUCCEEDED, State.ROLLED_BACK, State.SUCCEEDED)


class Requests(Struct, frozen=True, kw_only=True):
    """Latencies count from the scheduled arrival."""

    total: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Streams(Struct, frozen=True, kw_only=True):
    """`fewest_open`: the least number that stood at once under load."""

    total: int
    cut: int
    resumed: int
    fewest_open: int


class Move(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One rollout; see `controlplane.demo.measure.critical` for the critical path and its parts.

    `min_ready`: addresses in the edge's table that answered ready, at the worst sample;
    `max_total`: processes of instances. Both are seen from outside, not reported by agents.
    """

    id: str
    from_: str
    to: str
    state: State
    duration_s: float
    critical_path_s: float
    ratio: float
    min_ready: int
    max_total: int
    samples: int
    parts_s: dict[str, float]
    links_s: dict[str, float]
    waits_s: dict[str, float]
    cause: str = ""


class Leader(Struct, frozen=True, kw_only=True):
    """`failover_s`: from each SIGKILL to a leader with a higher epoch."""

    kills: int
    failover_s: list[float]


class Migrations(Struct, frozen=True, kw_only=True):
    """Revisions that the rollouts added, and how often a migration was run for them."""

    applied: int
    runs: int
    revisions: list[str]


class Report(Struct, frozen=True, kw_only=True):
    """The whole; `first_deploy` brought 1.0.0 to an empty environment before the load began."""

    requests: Requests
    streams: Streams
    rollouts: list[Move]
    leader: Leader
    migrations: Migrations
    first_deploy: Move
    failures: list[Failed]
    duration_s: float
    passed: bool = False
    faults: list[str] = []


def faults(report: Report) -> Iterator[str]:
    """Each promise that was not kept, as a sentence."""
    requests, streams = report.requests, report.streams
    if requests.failed:
        yield f"{requests.failed} of {requests.total} requests failed; the report lists them."
    if requests.total < LEAST_REQUESTS:
        yield f"Only {requests.total} requests were sent; {LEAST_REQUESTS} are due."
    if streams.cut:
        yield f"{streams.cut} of {streams.total} streams were cut; the report lists them."
    if streams.total < LEAST_STREAMS:
        yield f"Only {streams.total} streams ran; {LEAST_STREAMS} are due."
    if streams.fewest_open < LEAST_OPEN:
        yield f"At one moment only {streams.fewest_open} streams stood; {LEAST_OPEN} are due."
    for move, expected in zip(report.rollouts, EXPECTED, strict=False):
        if move.state is not expected:
            yield f"{_name(move)} ended {move.state} instead of {expected}. {move.cause}".rstrip()
        if move.min_ready < LEAST_READY:
            yield f"{_name(move)} left {move.min_ready} ready instances; {LEAST_READY} are due."
    yield from _leader_faults(report.leader)
    if report.migrations.applied != 1 or report.migrations.runs != 1:
        yield (
            f"{report.migrations.applied} revisions were applied in {report.migrations.runs} runs "
            "instead of one in one."
        )


def _leader_faults(leader: Leader) -> Iterator[str]:
    if leader.kills != 1:
        yield f"The leader was killed {leader.kills} times instead of once."
    for failover_s in leader.failover_s:
        if failover_s > FAILOVER_BAR_S:
            yield f"A new leader took {failover_s:.1f} s; {FAILOVER_BAR_S:g} s are allowed."


def _name(move: Move) -> str:
    return f"The rollout from {move.from_ or 'nothing'} to {move.to}"
