"""Where errors become one or two sentences and an exit code, never a traceback."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

SHOW_TRACEBACK = "CAMP_TRACEBACK"


@contextmanager
def boundary(context: click.Context) -> Iterator[None]:
    """Around a whole command."""
    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001 - the last one who can turn it into a sentence
        if os.environ.get(SHOW_TRACEBACK):
            traceback.print_exc()
        sentence, code, label = explained(error)
        _print(context, sentence, label)
        context.exit(code)


def explained(error: Exception) -> tuple[str, int, str]:
    """(sentence with the remedy, exit code, stable code) of any error."""
    from camp.errors import SettingsError
    from controlplane.cli.common import ExitCode
    from controlplane.client import WaitedTooLong
    from controlplane.domain.errors import ControlError, NotAllowed

    match error:
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


def _print(context: click.Context, sentence: str, label: str) -> None:
    from controlplane.cli.common import JSON_WANTED

    if context.meta.get(JSON_WANTED):
        import msgspec

        problem = {"title": "Error", "detail": sentence, "code": label}
        click.echo(msgspec.json.encode(problem), err=True)
    else:
        click.echo(f"Error: {sentence}", err=True)
