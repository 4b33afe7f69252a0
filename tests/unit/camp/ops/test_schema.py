from __future__ import annotations

from pathlib import Path

from alembic.script import ScriptDirectory

import migrations
from camp.ops.schema import SchemaHistory, packaged_history

OURS = SchemaHistory("0002", frozenset({"0001", "0002"}))
BOTH = [("0001", "expand"), ("0002", "expand")]


def test_applied_head_suits() -> None:
    assert OURS.fault(BOTH) is None


def test_missing_head_names_the_command() -> None:
    assert OURS.fault(BOTH[:1]) == "schema 0002 is not applied: run camp migrate upgrade"


def test_newer_expand_and_data_steps_are_lived_with() -> None:
    assert OURS.fault([*BOTH, ("0003", "expand"), ("0004", "data")]) is None


def test_newer_contract_step_is_refused() -> None:
    fault = OURS.fault([*BOTH, ("0003", "contract")])
    assert fault is not None
    assert "0003" in fault


def test_own_contract_step_is_fine() -> None:
    ours = SchemaHistory("0003", frozenset({"0001", "0002", "0003"}))
    assert ours.fault([*BOTH, ("0003", "contract")]) is None


def test_packaged_history_is_the_one_that_alembic_reads() -> None:
    directory = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
    history = packaged_history()
    assert history.head == directory.get_current_head()
    assert history.revisions == {script.revision for script in directory.walk_revisions()}
