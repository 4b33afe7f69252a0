"""The files that people copy: complete, loadable, and unsafe only where they say FILL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from camp.config.settings import VARIABLES, load
from camp.errors import SettingsError
from tests.images import ROOT


def copied(environment: str, folder: Path) -> Path:
    """A folder with the example as the file that the settings are read from."""
    shutil.copy(ROOT / f".env.{environment}.example", folder / f".env.{environment}")
    return folder


@pytest.mark.parametrize("environment", ["local", "production"])
def test_example_names_every_setting_and_no_other(environment: str) -> None:
    lines = (ROOT / f".env.{environment}.example").read_text().splitlines()
    named = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
    assert sorted(named) == sorted(variable.name for variable in VARIABLES)


def test_local_example_can_be_used_as_it_is(tmp_path: Path) -> None:
    settings = load({"ENVIRONMENT": "local"}, copied("local", tmp_path))
    assert (settings.environment, settings.llm_provider) == ("local", "echo")


def test_production_example_is_refused_until_it_is_filled(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load({"ENVIRONMENT": "production"}, copied("production", tmp_path))
    named = {fault.split()[0] for fault in refused.value.faults}
    assert {"DATABASE_URL", "ENTRA_TENANT_ID", "ENTRA_AUDIENCE"} <= named
    filled = {
        "DATABASE_URL": "postgresql://camp:pw@db/camp?sslmode=verify-full",
        "ENTRA_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "ENTRA_AUDIENCE": "api://camp",
        "LLM_MODEL": "a-model",
        "ANTHROPIC_API_KEY": "a-key",
        "CAMP_AGENT_TOKEN": "a-token",
    }
    assert load(filled | {"ENVIRONMENT": "production"}, tmp_path).auth_mode == "production"
