"""How long a rolling update of six instances takes, and how long it had to: `just bench rollout`.

Servers, agents and releases are the demo's, without its load. The update from 1.0.0 to 1.1.0
(one migration) and the way back are measured by the samples of the same run; what counts as
critical is defined in `controlplane/demo/measure/critical.py`. Exit code 1 when a ratio is above
1.5.

With `--against swarm` camp and Docker Swarm change the same fleet of containers instead; see
`benchmarks/against.py`. Exit code 1 when a ratio is above 0.5 or a request of camp's failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from controlplane.demo.measure.report import Move
from controlplane.demo.processes import Processes
from controlplane.demo.site import Site, opened
from controlplane.demo.stage import sources
from controlplane.domain.errors import ControlError
from controlplane.domain.model import State

GOAL = 1.5
SAMPLE_INTERVAL_S = 0.05


async def measure(folder: Path, rounds: int) -> list[Move]:
    """Updates there and back, `rounds` times."""
    async with opened(
        folder, Processes(folder, sources()), _say, interval_s=SAMPLE_INTERVAL_S
    ) as site:
        first = await site.client.start(site.environment, "1.0.0", reason="benchmark")
        await site.finished(first)
        await site.to_fleet()
        versions = ["1.1.0", "1.0.0"] * rounds
        return [await _update(site, version) for version in versions]


async def _update(site: Site, version: str) -> Move:
    rollout = await site.client.start(site.environment, version, reason="benchmark")
    done, move = await site.finished(rollout)
    if done.state is not State.SUCCEEDED:
        raise ControlError(f"The update to {version} ended {done.state}: {done.cause}")
    _say(f"{move.from_} → {move.to}: {move.duration_s:.1f} s, ratio {move.ratio:.2f}")
    return move


def lines(move: Move) -> Iterator[str]:
    """One update as a table."""
    yield f"{move.from_} → {move.to}"
    yield f"  {'duration':<34}{move.duration_s:8.2f} s"
    yield f"  {'critical path':<34}{move.critical_path_s:8.2f} s"
    for name, part_s in move.parts_s.items():
        yield f"    {name:<32}{part_s:8.2f} s"
    yield f"  {'ratio':<34}{move.ratio:8.2f}     (goal: at most {GOAL})"
    yield "  one instance, mean"
    for name, link_s in move.links_s.items():
        yield f"    {name:<32}{link_s:8.2f} s"
    yield "  where the rest goes, mean of each wait"
    for name, wait_s in move.waits_s.items():
        yield f"    {name:<32}{wait_s:8.2f} s"


def main() -> int:
    parser = argparse.ArgumentParser(prog="just bench rollout")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--rounds", type=int, default=1, help="updates there and back")
    parser.add_argument("--against", choices=["swarm"], help="compare on DOCKER_HOST's engine")
    parser.add_argument(
        "--parallelism", type=int, default=3, help="against: instances replaced at a time"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="camp-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve() / "site"
        try:
            if given.against:
                return _compared(folder, given.parallelism, given.json)
            moves = asyncio.run(measure(folder, given.rounds))
        except ControlError as error:
            sys.stderr.write(f"Error: {error.sentence}\n")
            return 1
    _show(moves, ["\n\n".join("\n".join(lines(move)) for move in moves)], given.json)
    return 0 if all(move.ratio <= GOAL for move in moves) else 1


def _compared(folder: Path, parallelism: int, as_json: bool) -> int:
    from benchmarks import against

    found = asyncio.run(against.compare(folder, parallelism, _say))
    detail = "\n\n".join("\n".join(lines(move)) for move in found.moves)
    _show(found, [*against.lines(found), "", "Where camp's time goes:", detail], as_json)
    held = max(found.update_ratio, found.rollback_ratio) <= against.GOAL
    return 0 if held and not found.camp.failed else 1


def _show(found: object, told: list[str], as_json: bool) -> None:
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(told))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
