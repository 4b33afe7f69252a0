"""The life of each instance, put together from samples: what happened to it, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.demo.measure.sampler import Process, Sample, Seen


@dataclass(slots=True)
class Lifetime:
    """Times are epoch seconds, exact to one sample; None: it was not seen to happen.

    `listed_at` and `unlisted_at`: the edge began and ceased to use it. `idle_at`: unlisted, and
    it said itself that no stream and no request is left. `gone_at`: its process had ended.
    """

    process: Process
    version: str = ""
    ready_at: float | None = None
    listed_at: float | None = None
    unlisted_at: float | None = None
    idle_at: float | None = None
    gone_at: float | None = None


def lifetimes(samples: Iterable[Sample]) -> list[Lifetime]:
    """Every instance that was ever seen, in the order of their starts."""
    found: dict[tuple[int, float], Lifetime] = {}
    for sample in samples:
        present = set()
        for seen in sample.instances:
            key = (seen.process.pid, seen.process.started_at)
            present.add(key)
            _note(found.setdefault(key, Lifetime(seen.process)), seen, sample)
        for key, life in found.items():
            if key not in present and life.gone_at is None:
                life.gone_at = sample.at
                life.unlisted_at = life.unlisted_at or (life.listed_at and sample.at)
    return sorted(found.values(), key=lambda life: life.process.began_at)


def _note(life: Lifetime, seen: Seen, sample: Sample) -> None:
    listed = seen.process.address in sample.table
    life.version = life.version or seen.version
    if seen.ready and life.ready_at is None:
        life.ready_at = sample.at
    if listed and life.listed_at is None:
        life.listed_at = sample.at
    if not listed and life.listed_at is not None and life.unlisted_at is None:
        life.unlisted_at = sample.at
    if life.unlisted_at is not None and seen.idle and life.idle_at is None:
        life.idle_at = sample.at
