"""The file on a host that holds what instances must know and nobody else: NAME=VALUE lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

from controlplane.domain.errors import Invalid

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Everything but reading and writing by the owner.
WIDER = 0o177


def read(file: Path) -> dict[str, str]:
    """Its variables: comments and `export` are understood, quotes belong to the value.

    Raises Invalid with the line's number, never with what stands in it.
    """
    values = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise Invalid(f"{file} line {number} is not NAME=VALUE; correct or remove it.")
        values[name] = value
    return values


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode & 0o777
            if mode & WIDER:
                raise Invalid(
                    f"{file} has the mode {mode:04o}, and it holds secrets; `chmod 0600 {file}`."
                )
            return opened.read()
    except FileNotFoundError as error:
        raise Invalid(
            f"There is no file {file}; write what instances need into it, such as"
            " DATABASE_URL=…, and `chmod 0600` it."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} cannot be read ({error}); make it a readable UTF-8 file.") from error
