"""What all command groups share: the connection options, output, exit codes."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import wraps
from shutil import get_terminal_size
from typing import Any, TypeVar

import msgspec
import rich_click as click

from controlplane.client import FIRST_PATIENCE_S, ControlClient
from controlplane.domain.errors import ControlError, Invalid
from controlplane.domain.model import State

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8000"
JSON_WANTED = "controlplane.json"


class ExitCode(IntEnum):
    """What a script can tell from how a command ended."""

    SUCCEEDED = 0
    ERROR = 1
    USAGE = 2
    ROLLED_BACK = 3
    FAILED = 4
    TIMED_OUT = 5
    NOT_ALLOWED = 6
    # As shells say it: ended by Ctrl-C, and by a reader (`| head`) that had enough.
    INTERRUPTED = 130
    UNREAD = 141


class StoppedWatching(ControlError):
    """Whoever watched a rollout left; the sentence says that it goes on, and how to come back."""

    code = "stopped_watching"
    retry = True


class Finite(click.FloatRange):
    """A number within bounds; "nan" passes every comparison of a plain FloatRange."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number to count with; give a finite one.", param, ctx)
        return number


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the control plane is, who asks, and how answers are printed."""

    url: str
    token: str
    as_json: bool

    def client(self, first_patience_s: float = FIRST_PATIENCE_S) -> ControlClient:
        return ControlClient(self.url, self.token, first_patience_s=first_patience_s)

    def show(self, value: object, lines: Callable[[], Iterable[str]]) -> None:
        """Print one JSON document, or lines for people."""
        if self.as_json:
            print_json(value)
            return
        for line in lines():
            click.echo(line)


def typed(name: str, given: str | None, what: str) -> str:
    """The name typed once more, by --yes or at a prompt; `what` says what will happen."""
    if given is None:
        click.echo(what, err=True)
        given = click.prompt(f"Type {name} to go on", err=True)
    if given.strip() != name:
        raise Invalid(f"{given!r} is not {name!r}; nothing was done.")
    return name


def connected(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command --url, --token and --json as `connection`."""

    @click.option(
        "--url", envvar="CAMP_URL", default=DEFAULT_URL, show_default=True, help="CAMP_URL."
    )
    @click.option(
        "--token",
        envvar="CAMP_TOKEN",
        default="",
        callback=header_safe,
        help="Operator token; CAMP_TOKEN.",
    )
    @json_option
    @wraps(command)
    def with_connection(*args: Any, url: str, token: str, as_json: bool, **rest: Any) -> T:
        return command(*args, connection=Connection(url, token, as_json), **rest)

    return with_connection


def header_safe(_: click.Context, __: click.Parameter, token: str) -> str:
    """A token as it can stand in a header. Raises BadParameter."""
    token = token.strip()
    if any(not "!" <= character <= "~" for character in token):
        raise click.BadParameter(
            "a token is made of ASCII letters, digits and signs without spaces; "
            "this one has something else in it. Copy it again."
        )
    return token


def said(_: click.Context, __: click.Parameter, reason: str | None) -> str:
    """A reason that says something, or "" when none was given. Raises BadParameter."""
    if reason is not None and not reason.strip():
        raise click.BadParameter("it is empty; say in some words why.")
    return reason or ""


def place(name: str) -> tuple[str, int]:
    """(host, slot) of an instance as it is printed, such as host-a/1. Raises UsageError."""
    host, _, slot = name.rpartition("/")
    if not host or not slot.isdecimal() or int(slot) < 1:
        raise click.UsageError(f"{name!r} names no instance; write HOST/SLOT, such as host-a/1.")
    return host, int(slot)


def json_option(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command --json as `as_json`; problems are printed as JSON too."""

    def remember(context: click.Context, _: click.Parameter, wanted: bool) -> bool:
        context.meta[JSON_WANTED] = wanted
        return wanted

    option = click.option(
        "--json", "as_json", is_flag=True, callback=remember, is_eager=True, help="Print JSON."
    )
    return option(command)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None
) -> list[str]:
    """Columns padded with spaces: readable, and cut by `awk` alike.

    Where a row is wider than `width`, the terminal's unless given, the last column, the one with
    words in it, gets lines of its own. What is no terminal has no width.
    """
    cells = [tuple(head), *(tuple(_cell(value) for value in row) for row in rows)]
    lines = _aligned(cells)
    if width is None and sys.stdout.isatty():
        width = get_terminal_size().columns
    if width is None or max(map(len, lines)) <= width:
        return lines
    short = _aligned([row[:-1] for row in cells])
    words = ["-", *(row[-1] for row in cells[1:])]
    folded = zip(short, words, strict=True)
    return [line for row, said in folded for line in (row, f"    {said}") if line != "    -"]


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in cells]


def stamp(seconds: float) -> str:
    """A moment in local time; `seconds` since 1970."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def day(seconds: float) -> str:
    """The same without year and seconds, for a column."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%m-%d %H:%M}"


def lasted(seconds: float) -> str:
    """How long something took, in its two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def exit_code(state: State) -> ExitCode:
    """How a command that waited for a rollout ends."""
    match state:
        case State.SUCCEEDED:
            return ExitCode.SUCCEEDED
        case State.ROLLED_BACK:
            return ExitCode.ROLLED_BACK
        case _:
            return ExitCode.FAILED


def leave(code: ExitCode) -> None:
    """End the program when the code is not 0."""
    if code:
        sys.exit(int(code))


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
