"""The revisions that this release carries, read from its packaged migrations; no database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

import migrations
from controlplane.domain.errors import Invalid

PHASES = frozenset({"expand", "data", "contract"})


@dataclass(frozen=True, slots=True)
class Step:
    """One revision to apply."""

    revision: str
    name: str
    phase: str

    def __str__(self) -> str:
        return f"{self.revision} {self.name} ({self.phase})"


def packaged() -> Path:
    """The folder of this release's migrations, wherever the release was unpacked."""
    assert migrations.__file__ is not None
    return Path(migrations.__file__).parent


def config(folder: Path) -> Config:
    """Alembic's configuration, made in code: no file with a URL in it."""
    made = Config()
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


@cache
def scripts(folder: Path) -> ScriptDirectory:
    """The revisions in a folder. Cached: they do not change while a process lives."""
    return ScriptDirectory.from_config(config(folder))


def head(directory: ScriptDirectory) -> str:
    """The newest revision. Raises Invalid when two revisions claim to be the newest."""
    found = directory.get_heads()
    if len(found) != 1:
        raise Invalid(
            f"The migrations have {len(found)} newest revisions ({', '.join(found)});"
            " give one of them the other as its down_revision."
        )
    return found[0]


def resolve(directory: ScriptDirectory, to: str) -> str:
    """The full revision id for "head", an id or a unique beginning of one. Raises Invalid."""
    if to in {"head", "heads"}:
        return head(directory)
    try:
        script = directory.get_revision(to)
    except CommandError:
        script = None
    if script is None:
        raise Invalid(
            f"There is no revision {to} in this release; its newest is {head(directory)}."
        )
    return script.revision


def known(directory: ScriptDirectory, revision: str) -> bool:
    """Whether this release carries the revision."""
    return any(script.revision == revision for script in directory.walk_revisions())


def pending(directory: ScriptDirectory, current: str | None, to: str) -> tuple[Step, ...]:
    """What lies between `current` (None: an empty database) and `to`, oldest first."""
    target = resolve(directory, to)
    upwards = [step_of(script) for script in directory.iterate_revisions(target, "base")]
    upwards.reverse()
    at = next((i for i, step in enumerate(upwards) if step.revision == current), -1)
    beyond = current is not None and at < 0
    return () if beyond else tuple(upwards[at + 1 :])


def step_of(script: Script) -> Step:
    """A revision with its name and phase. Raises Invalid when it declares none."""
    phase = getattr(script.module, "phase", None)
    if phase not in PHASES:
        raise Invalid(
            f"Revision {script.revision} has no phase;"
            ' write phase = "expand", "data" or "contract" into its file.'
        )
    name = Path(script.path).stem.removeprefix(f"{script.revision}_")
    return Step(script.revision, name, phase)
