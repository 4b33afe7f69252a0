"""Which agent this is: a name made once and kept in its folder, so that a successor has it too."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from controlplane.adapters.host.files import write_atomically


def identity(folder: Path) -> str:
    """The id of this folder's agent. It begins with the machine's name, for people to find it."""
    file = folder / "agent"
    if file.exists() and (kept := file.read_text("utf-8").strip()):
        return kept
    made = f"{socket.gethostname()}-{secrets.token_hex(6)}"
    write_atomically(file, made.encode())
    return made
