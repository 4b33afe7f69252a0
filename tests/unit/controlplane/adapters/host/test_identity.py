"""Which agent this is."""

from __future__ import annotations

import socket
from pathlib import Path

from controlplane.adapters.host.identity import identity


def test_next_agent_of_the_folder_is_the_same_one(tmp_path: Path) -> None:
    assert identity(tmp_path) == identity(tmp_path)


def test_agent_of_another_folder_is_another_one_and_names_its_machine(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = identity(tmp_path), identity(tmp_path / "other")
    assert first != second
    assert second.startswith(f"{socket.gethostname()}-")
