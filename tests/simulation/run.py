"""`just sim SEED`, `just sim 1..20000`: run seeds, print the story of the first violation.

just sim 42                          one seed, with its story
just sim 1..20000                    a range, on all cores
just sim 1..20000 --plant NAME       the same with a known bug planted; must find it
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import click
from rich.console import Console
from rich.progress import Progress

from tests.simulation.bugs import BUGS, plant
from tests.simulation.episode import play
from tests.simulation.violation import Violation

CHUNK = 250


def seeds(text: str) -> range:
    """A seed or an inclusive range `a..b`."""
    first, dots, last = text.partition("..")
    try:
        low = int(first)
        high = int(last) if dots else low
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is neither a seed nor a range like 1..20000") from error
    if high < low:
        raise click.BadParameter(f"{text!r} is empty; write the smaller seed first")
    return range(low, high + 1)


def play_chunk(chunk: range, bug: str | None) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Run some seeds in this process; stops at its first violation."""
    states: Counter[str] = Counter()
    # A seed's objects are cyclic and short-lived: collected once in a while, not all the time, and
    # without going through everything that was imported.
    gc.disable()
    gc.freeze()
    try:
        with plant(bug):
            for seed in chunk:
                states[play(seed).state] += 1
                if seed % 50 == 0:
                    gc.collect()
    except Violation as violation:
        return states, [(seed, str(violation))]
    finally:
        gc.unfreeze()
        gc.enable()
    return states, []


def chunks(todo: range) -> Iterator[range]:
    for start in range(todo.start, todo.stop, CHUNK):
        yield range(start, min(start + CHUNK, todo.stop))


def play_all(todo: range, bug: str | None) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Run all seeds on all cores until the first violation."""
    states: Counter[str] = Counter()
    console = Console(stderr=True)
    with (
        ProcessPoolExecutor(os.cpu_count()) as pool,
        Progress(console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("seeds", total=len(todo))
        parts = [(c, pool.submit(play_chunk, c, bug)) for c in chunks(todo)]
        for chunk, part in parts:
            counted, violations = part.result()
            states += counted
            bar.advance(task, len(chunk))
            if violations:
                pool.shutdown(wait=True, cancel_futures=True)
                return states, violations
    return states, []


def tell(seed: int, bug: str | None) -> bool:
    """Run one seed and print its story; true when nothing was violated."""
    with plant(bug):
        try:
            outcome = play(seed)
        except Violation as violation:
            click.echo("\n".join(getattr(violation, "__notes__", [])))
            click.secho(f"seed {seed}: {violation}", fg="red", err=True)
            return False
    click.echo("\n".join(outcome.story))
    click.echo(
        f"seed {seed}: {outcome.state} after {outcome.virtual_s:.1f} virtual seconds, "
        f"{outcome.turns} turns, {outcome.commits} commits"
    )
    return True


@click.command(help=__doc__)
@click.argument("which", metavar="SEED|A..B")
@click.option("--plant", "bug", type=click.Choice(sorted(BUGS)), help="Plant a known bug.")
def main(which: str, bug: str | None) -> None:
    todo = seeds(which)
    if len(todo) == 1:
        sys.exit(0 if tell(todo[0], bug) else 1)
    began = time.perf_counter()
    states, violations = play_all(todo, bug)
    took = time.perf_counter() - began
    played = sum(states.values()) + len(violations)
    ends = ", ".join(f"{n} {s}" for s, n in sorted(states.items()))
    click.echo(f"{played} seeds in {took:.1f} s ({60 * played / took:.0f} a minute): {ends}")
    for seed, text in violations:
        click.secho(f"seed {seed}: {text}", fg="red", err=True)
        click.echo(f"replay: just sim {seed}" + (f" --plant {bug}" if bug else ""), err=True)
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
