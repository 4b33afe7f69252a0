"""Where errors become one or two sentences and an exit code, never a traceback."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

SHOW_TRACEBACK = "CAMP_TRACEBACK"


@contextmanager
def boundary(context: click.Context) -> Iterator[None]:
    """Around a whole command."""
    from controlplane.cli.common import ExitCode

    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except KeyboardInterrupt:
        # How one ends what has no end, such as a log that is followed: nothing went wrong.
        click.echo(err=True)
        context.exit(ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last one who can turn it into a sentence
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            context.exit(ExitCode.UNREAD)
        if os.environ.get(SHOW_TRACEBACK):
            traceback.print_exc()
        sentence, code, label = explained(error)
        _print(context, sentence, code, label)
        context.exit(code)


def explained(error: Exception) -> tuple[str, int, str]:
    """(sentence with the remedy, exit code, stable code) of any error."""
    from camp.errors import SettingsError
    from controlplane.cli.common import ExitCode, StoppedWatching
    from controlplane.client import WaitedTooLong
    from controlplane.domain.errors import ControlError, NotAllowed

    match error:
        case StoppedWatching():
            return error.sentence, ExitCode.INTERRUPTED, error.code
        case WaitedTooLong():
            return error.sentence, ExitCode.TIMED_OUT, error.code
        case NotAllowed():
            sentence = f"{error.sentence} Give it with --token or CAMP_TOKEN."
            return sentence, ExitCode.NOT_ALLOWED, error.code
        case ControlError():
            return error.sentence, ExitCode.ERROR, error.code
        case SettingsError():
            return " ".join(error.faults), ExitCode.ERROR, error.code
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}.", ExitCode.ERROR, "system"
        case _:
            sentence = (
                f"camp met an error that it does not know ({type(error).__name__}: {error}); "
                f"set {SHOW_TRACEBACK}=1 to see where, and report it."
            )
            return sentence, ExitCode.ERROR, "internal_error"


def _nobody_reads() -> bool:
    """Whether the broken pipe is our own output's; what is left of that goes nowhere then."""
    output = sys.stdout.fileno()
    pipe = select.poll()
    # An end without a reader is in error, whatever one asks for.
    pipe.register(output, 0)
    if not pipe.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _print(context: click.Context, sentence: str, code: int, label: str) -> None:
    from controlplane.cli.common import JSON_WANTED, ExitCode

    interrupted = code == ExitCode.INTERRUPTED
    if context.meta.get(JSON_WANTED):
        import msgspec

        title = "Interrupted" if interrupted else "Error"
        problem = {"title": title, "detail": sentence, "code": label}
        click.echo(msgspec.json.encode(problem), err=True)
    else:
        click.echo(f"\n{sentence}" if interrupted else f"Error: {sentence}", err=True)
