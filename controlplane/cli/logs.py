"""`camp logs`: what all instances of an environment write, side by side."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import rich_click as click

from controlplane.cli.common import Connection, connected, place, run
from controlplane.client import ControlClient
from controlplane.domain.errors import AgentSilent, NotFound, RuntimeUnavailable
from controlplane.domain.reports import MAX_LOG_LINES
from controlplane.wire import InstanceView

# Each look asks every host's agent for each of its slots.
LOOK_INTERVAL_S = 1.0
# Who there is is asked for less often: instances come and go with rollouts.
LIST_INTERVAL_S = 5.0
AT_ONCE = 8
# Read of each instance in a look; who writes more between two looks is not read whole.
WINDOW = 500
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")


class LogLine(msgspec.Struct, frozen=True):
    """One line and who wrote it."""

    instance: str
    line: str


@click.command()
@click.argument("environment")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option(
    "--lines",
    "-n",
    default=10,
    show_default=True,
    type=click.IntRange(0, MAX_LOG_LINES),
    help="How many of each instance's last lines to begin with.",
)
@click.option("--instance", "-i", "only", multiple=True, help="Only this one, such as host-a/1.")
@connected
def logs(
    environment: str, follow: bool, lines: int, only: tuple[str, ...], connection: Connection
) -> None:
    """Print what the instances write, each line behind host/slot; --json: a document a line.

    The hosts' agents read the logs. Instances that come later are joined in; lines that were
    missed are counted as missed, not hidden.

    Example: camp logs -f production
    """
    wanted = frozenset("/".join(map(str, place(name))) for name in only)
    run(_read(connection, environment, wanted, lines, follow=follow))


async def _read(
    connection: Connection, environment: str, only: frozenset[str], lines: int, *, follow: bool
) -> None:
    async with connection.client() as client:
        reader = Reader(client, environment, only, lines)
        while True:
            for one in await reader.look():
                _print(one, connection.as_json)
            for note in reader.notes():
                click.echo(note, err=True)
            if not follow:
                return
            await asyncio.sleep(LOOK_INTERVAL_S)


@dataclass
class Reader:
    """Looks again and again; `_tails` is what was seen last of each instance."""

    client: ControlClient
    environment: str
    only: frozenset[str]
    lines: int
    _tails: dict[str, Sequence[str]] = field(default_factory=dict)
    _faults: dict[str, str] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _there: list[InstanceView] = field(default_factory=list)
    _listed_at: float = -math.inf

    async def look(self) -> list[LogLine]:
        """What was written since the last look. Raises NotFound where nothing can be read."""
        there = await self._instances()
        names = {f"{i.host}/{i.slot}" for i in there}
        if not (names & self.only if self.only else names) and not self._tails:
            known = ", ".join(sorted(names)) or "none"
            raise NotFound(f"{self.environment} has no such instances; it has: {known}.")
        for missing in sorted(self.only - names):
            self._fault(missing, f"There is no instance {missing} in {self.environment} now.")
        slots = asyncio.Semaphore(AT_ONCE)
        asked = self._that_answer(there)
        found = await asyncio.gather(*(self._one(i, slots) for i in asked))
        return [line for lines in found for line in lines]

    def _that_answer(self, there: list[InstanceView]) -> list[InstanceView]:
        """The wanted ones but those of silent hosts: each question there would cost 5 s."""
        for host, silent in {i.host: i.silent for i in there}.items():
            if silent:
                self._fault(host, "its agent does not report, so its logs cannot be read now.")
            else:
                self._faults.pop(host, None)
        return [
            i
            for i in there
            if not i.silent and (not self.only or f"{i.host}/{i.slot}" in self.only)
        ]

    async def _instances(self) -> list[InstanceView]:
        if time.monotonic() - self._listed_at >= LIST_INTERVAL_S:
            self._there = await self.client.instances(self.environment)
            self._listed_at = time.monotonic()
        return self._there

    def notes(self) -> Iterator[str]:
        """What a reader should know beside the lines, each once."""
        while self._notes:
            yield self._notes.pop(0)

    async def _one(self, instance: InstanceView, slots: asyncio.Semaphore) -> list[LogLine]:
        name = f"{instance.host}/{instance.slot}"
        async with slots:
            try:
                view = await self.client.logs(
                    self.environment, instance.host, instance.slot, WINDOW
                )
            except (AgentSilent, RuntimeUnavailable, NotFound) as error:
                self._fault(name, error.sentence)
                return []
        self._faults.pop(name, None)
        before, now = self._tails.get(name), view.lines
        self._tails[name] = now
        if before is None:
            return [LogLine(name, line) for line in now[len(now) - min(self.lines, len(now)) :]]
        new, whole = fresh(before, now)
        if not whole:
            self._notes.append(f"{name}: wrote more than {WINDOW} lines between two looks")
        return [LogLine(name, line) for line in new]

    def _fault(self, name: str, sentence: str) -> None:
        if self._faults.get(name) != sentence:
            self._faults[name] = sentence
            self._notes.append(f"{name}: {sentence}")


def fresh(before: Sequence[str], now: Sequence[str]) -> tuple[Sequence[str], bool]:
    """(the lines of `now` that come after `before`, whether none between them is missing).

    Both are the ends of one log, `now` the later one: what they share is the end of `before`
    and the beginning of `now`.
    """
    for shared in range(min(len(before), len(now)), 0, -1):
        if before[len(before) - shared :] == now[:shared]:
            return now[shared:], True
    # Nothing in common: a log that began anew, shorter, or one that ran away from us.
    return now, not before or len(now) < WINDOW


def _print(one: LogLine, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(one))
        return
    # By the name's own letters, so that a colour stays from one call to the next.
    colour = COLOURS[sum(one.instance.encode()) % len(COLOURS)]
    click.echo(f"{click.style(one.instance, fg=colour)}  {one.line}")
