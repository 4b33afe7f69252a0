"""What an agent remembers, in two small files that survive a power cut."""

from __future__ import annotations

from pathlib import Path

from controlplane.adapters.host.files import write_atomically
from controlplane.domain.errors import Invalid


class FileMemory:
    """The memory port; the version of goals is kept beside the file of the epoch.

    Raises Invalid when a file holds something else than a number.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._goals = file.with_name("goals")
        self._epoch = _read(file, "the highest epoch this host obeyed")
        self._acted_on = _read(self._goals, "the version of the goals this host acted on")

    def epoch(self) -> int:
        return self._epoch

    def remember(self, epoch: int) -> None:
        if epoch > self._epoch:
            write_atomically(self._file, str(epoch).encode())
            self._epoch = epoch

    def acted_on(self) -> int:
        return self._acted_on

    def act_on(self, version: int) -> None:
        if version > self._acted_on:
            write_atomically(self._goals, str(version).encode())
            self._acted_on = version

    def forget_goals(self) -> None:
        self._goals.unlink(missing_ok=True)
        self._acted_on = 0


def _read(file: Path, what: str) -> int:
    try:
        return int(file.read_text("ascii"))
    except FileNotFoundError:
        return 0
    except ValueError as error:
        # Guessing 0 would let this host obey a leader that was already replaced.
        raise Invalid(
            f"{file} should hold {what}, but is damaged; write the environment's present one into"
            " it (`camp status` names the leader's epoch), or remove the file when nothing was"
            " ever restored."
        ) from error
