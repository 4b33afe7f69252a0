"""Settings that are to be the same for all instances of an environment."""

from __future__ import annotations

from pathlib import Path

from camp.config.settings import exported, load
from camp.config.shared import shared


def test_defaults_are_told_as_a_process_gets_them(tmp_path: Path) -> None:
    given = exported(load({"DATABASE_URL": "postgresql://camp@127.0.0.1/camp"}, tmp_path))
    plain = {name: value for name, value in shared().items() if value is not None}
    assert plain == {name: given[name] for name in plain}
    assert {"DB_POOL_TIMEOUT_S", "STORAGE_URL", "DEBUG"} <= plain.keys()


def test_what_names_one_instance_is_not_shared() -> None:
    names = shared().keys()
    assert {"DATABASE_URL", "SECRET_KEY", "CAMP_AGENT_TOKEN"} <= names
    assert not {"HOST", "PORT", "CAMP_INSTANCE", "CAMP_DIGEST"} & names
