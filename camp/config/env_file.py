"""Files of NAME=VALUE lines, as `.env.production` is one."""

from pathlib import Path


def read(path: Path, faults: list[str]) -> dict[str, str]:
    """What the file sets; `export`, comments and one pair of quotes are understood.

    A file that is not there sets nothing; what cannot be read is added to `faults`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path.name} cannot be read ({error}). Make it a readable UTF-8 file.")
        return {}
    values = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals:
            faults.append(f"{path.name} line {number} is not NAME=VALUE. Correct or remove it.")
            continue
        values[name.strip()] = _unquoted(value.strip())
    return {name: value for name, value in values.items() if value}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
