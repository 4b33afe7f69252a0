"""What every agent's memory must do, the file and the fake alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.adapters.host.memory import FileMemory
from controlplane.domain.errors import Invalid
from controlplane.ports.memory import Memory
from tests.fakes.memory import FakeMemory

Reopen = Callable[[], Memory]


@pytest.fixture(params=["fake", "file"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """The memory of a host, as each next agent finds it."""
    if request.param == "file":
        return lambda: FileMemory(tmp_path / "epoch")
    kept = FakeMemory()
    return lambda: kept


def test_new_host_has_obeyed_nobody(reopen: Reopen) -> None:
    assert reopen().epoch() == 0


def test_next_agent_knows_what_was_remembered(reopen: Reopen) -> None:
    reopen().remember(7)
    assert reopen().epoch() == 7


def test_lower_epoch_is_not_remembered(reopen: Reopen) -> None:
    memory = reopen()
    memory.remember(7)
    memory.remember(3)
    assert memory.epoch() == 7
    assert reopen().epoch() == 7


def test_version_of_goals_is_remembered_until_it_is_forgotten(reopen: Reopen) -> None:
    memory = reopen()
    assert memory.acted_on() == 0
    memory.act_on(12)
    memory.act_on(9)
    assert reopen().acted_on() == 12
    reopen().forget_goals()
    assert reopen().acted_on() == 0


def test_damaged_file_is_refused_rather_than_guessed(tmp_path: Path) -> None:
    file = tmp_path / "epoch"
    file.write_text("seven")
    with pytest.raises(Invalid, match="is damaged"):
        FileMemory(file)


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    FileMemory(tmp_path / "epoch").remember(7)
    assert [f.name for f in tmp_path.iterdir()] == ["epoch"]
