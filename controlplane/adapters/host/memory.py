"""What an agent remembers, in one small file that survives a power cut."""

from __future__ import annotations

from pathlib import Path

from controlplane.adapters.host.files import write_atomically
from controlplane.domain.errors import Invalid


class FileMemory:
    """The memory port. Raises Invalid when the file holds something else than a number."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._epoch = self._read()

    def epoch(self) -> int:
        return self._epoch

    def remember(self, epoch: int) -> None:
        if epoch > self._epoch:
            write_atomically(self._file, str(epoch).encode())
            self._epoch = epoch

    def _read(self) -> int:
        try:
            return int(self._file.read_text("ascii"))
        except FileNotFoundError:
            return 0
        except ValueError as error:
            # Guessing 0 would let this host obey a leader that was already replaced.
            raise Invalid(
                f"{self._file} should hold the highest epoch this host obeyed, but is damaged;"
                " write the environment's present epoch into it (`camp why` names it)."
            ) from error
