"""One agent for a host: a lock on a file that ends with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from controlplane.domain.errors import HostTaken


def take(file: Path, host: str) -> IO[str]:
    """Hold the lock until the returned file is closed. Raises HostTaken."""
    lock = file.open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise HostTaken(
            f"Another agent (process {holder}) already works for {host} in {file.parent};"
            " stop it first, or give this one a host name and a folder of its own."
        ) from error
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
