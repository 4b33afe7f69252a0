"""Files of NAME=VALUE lines, as `.env.production` is one."""

from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream


def read(path: Path, faults: list[str]) -> dict[str, str]:
    """What the file sets, as python-dotenv reads it; `$NAME` stands for itself.

    A file that is not there sets nothing; what cannot be read is added to `faults`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path.name} cannot be read ({error}). Make it a readable UTF-8 file.")
        return {}
    values = {}
    for line in parse_stream(StringIO(text)):
        if line.error or (line.key is not None and line.value is None):
            where = f"{path.name} line {line.original.line}"
            faults.append(f"{where} is not NAME=VALUE. Correct or remove it.")
        elif line.key is not None and line.value:
            values[line.key] = line.value
    return values
