"""Settings that are to be the same for all instances of an environment."""

from __future__ import annotations

from pathlib import Path

from camp.config.settings import exported, load
from camp.config.shared import shared


def test_defaults_are_told_as_a_process_gets_them(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://camp@127.0.0.1/camp", "ENVIRONMENT": "local"}
    given = exported(load(environ, tmp_path))
    plain = {name: value for name, value in shared().items() if value is not None}
    # Only `local` may do without a way to sign in.
    del plain["ENVIRONMENT"]
    assert plain == {name: given[name] for name in plain}
    assert {"DB_POOL_TIMEOUT_S", "STORAGE_URL", "DEBUG"} <= plain.keys()


def test_what_names_one_instance_is_not_shared() -> None:
    names = shared().keys()
    assert {"DATABASE_URL", "CAMP_AGENT_TOKEN"} <= names
    assert not {"HOST", "PORT", "CAMP_INSTANCE", "CAMP_DIGEST"} & names
