from __future__ import annotations

import sys
from pathlib import Path

import pytest

from camp.config.settings import Settings, load, redacted
from camp.errors import SettingsError
from tests import service

DATABASE = {"DATABASE_URL": "postgresql://camp:pw@db/camp", "DEV_MOCK_TOKEN": "test-token"}
PRODUCTION = service.PRODUCTION | {
    "DATABASE_URL": "postgresql://camp:pw@db/camp?sslmode=verify-full"
}


def faults_of(environ: dict[str, str], root: Path = Path("no-such-folder")) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, root)
    return caught.value.faults


def loaded(environ: dict[str, str], root: Path = Path("no-such-folder")) -> Settings:
    return load(environ, root)


def test_defaults_need_only_a_database_and_a_token() -> None:
    settings = loaded(DATABASE)
    assert (settings.environment, settings.auth_mode, settings.port) == (
        "development",
        "development",
        8000,
    )
    assert (settings.redis_url, settings.echo_token_delay_ms) == (None, 50)


def test_environment_beats_file_and_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / ".env.staging"
    file.write_text("# a comment\n\nexport PORT=9001\nHOST='10.0.0.1'\nCAMP_DIGEST=\"sha256:1\"\n")
    staging = DATABASE | {"ENVIRONMENT": "staging", "DEV_MOCK_TOKEN": OWN}
    settings = loaded(staging | {"PORT": "9002"}, tmp_path)
    assert (settings.port, settings.host, settings.camp_digest) == (9002, "10.0.0.1", "sha256:1")


def test_file_is_read_as_others_read_such_files(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text(
        "HOST = '::1'  # of this machine\n"
        'DEV_MOCK_TOKEN="a \\"quoted\\" word"\n'
        "DATABASE_URL=postgresql://camp:p${PORT}#w@127.0.0.1/camp # loopback\n"
        "LLM_MODEL='two\nlines'\n"
        "CAMP_DIGEST=\n"
    )
    settings = loaded({"ENVIRONMENT": "local"}, tmp_path)
    assert (settings.host, settings.dev_mock_token) == ("::1", 'a "quoted" word')
    assert settings.database_url == "postgresql://camp:p${PORT}#w@127.0.0.1/camp"
    assert (settings.llm_model, settings.camp_digest) == ("two\nlines", "")


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("RATELIMIT", "RATE_LIMIT"),
        ("ENTRA_TENNANT_ID", "ENTRA_TENANT_ID"),
        ("LLM_TIMEOUT", "LLM_TIMEOUT_S"),
        ("db_pool_size", "DB_POOL_SIZE"),
        ("CAMP_AGENT_TOKENS", "CAMP_AGENT_TOKEN"),
    ],
)
def test_misspelt_setting_is_named_with_the_nearest(
    tmp_path: Path, wrong: str, nearest: str
) -> None:
    (tmp_path / ".env.development").write_text(f"{wrong}=5\n")
    in_file = faults_of(DATABASE, tmp_path)
    assert in_file == [f"{wrong} is no setting: {nearest} is meant, or a variable of another name."]
    assert faults_of(DATABASE | {wrong: "5"}) == in_file


@pytest.mark.parametrize(
    "name",
    ["HOSTNAME", "PORTS", "HOME", "CAMP_TOKEN", "CAMP_URL", "CAMP_USER_TOKEN", "CAMP_RUN_ID",
     "CAMP_JOB", "CAMP_START", "CAMP_HOME", "CAMP_IMAGE", "CAMP_HOST", "CAMP_ENVIRONMENT",
     "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OPENAI_ORG_ID", "OPENAI_API_BASE", "REDIS_PORT",
     "POSTGRES_PASSWORD", "DATABASE_HOST", "DB_POOL", "AZURE_TENANT_ID", "STORAGE_ACCOUNT_URL",
     "ANTHROPIC_AUTH_TOKEN", "DOCKER_HOST", "REDIS_IMAGE", "DB_PASSWORD", "LOG_FORMAT"],
)  # fmt: skip
def test_variable_of_another_program_is_no_misspelt_setting(name: str) -> None:
    assert loaded(DATABASE | {name: "5"}).port == 8000


def test_file_of_another_environment_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env.production").write_text("PORT=9001\n")
    assert loaded(DATABASE, tmp_path).port == 8000


def test_empty_variable_counts_as_unset() -> None:
    assert loaded(DATABASE | {"PORT": "", "REDIS_URL": ""}).port == 8000


def test_every_fault_is_told_at_once() -> None:
    faults = faults_of({"PORT": "eighty", "LOG_LEVEL": "loud", "DEBUG": "maybe"})
    assert sorted(fault.split()[0] for fault in faults) == [
        "DATABASE_URL",
        "DEBUG",
        "DEV_MOCK_TOKEN",
        "LOG_LEVEL",
        "PORT",
    ]
    assert all(fault.endswith(".") for fault in faults)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "prod"),
        ("AUTH_MODE", "none"),
        ("DATABASE_URL", "mysql://db/camp"),
        ("DATABASE_URL", "postgresql://db"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgresql://db/camp?sslmode=sometimes"),
        ("REDIS_URL", "http://redis"),
        ("LLM_PROVIDER", "parrot"),
        ("OPENAI_BASE_URL", "gateway"),
        ("ENTRA_TENANT_ID", "common"),
        ("ENTRA_JWKS_URL", "http://login.example/keys"),
        ("ENTRA_ISSUER", "nonsense"),
        ("CAMP_SMOKE_TOKEN", "short"),
        ("CAMP_SMOKE_TOKEN", "smoke" * 10),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("ECHO_TOKEN_DELAY_MS", "1.5"),
        ("DRAIN_DEADLINE_S", "nan"),
        ("DRAIN_DEADLINE_S", "soon"),
        ("DB_POOL_SIZE", "0"),
    ],
)
def test_wrong_value_names_variable_and_remedy(name: str, value: str) -> None:
    (fault,) = faults_of(DATABASE | {name: value})
    assert fault.startswith(name)
    assert fault.count(". ") >= 1


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket", "aws_region=x,azure_msi_endpoint=x"),
        ("az://container", "aws_region=x"),
        ("file:///files", "aws_region=x"),
    ],
)
def test_options_of_another_storage_are_refused(url: str, options: str) -> None:
    (fault,) = faults_of(DATABASE | {"STORAGE_URL": url, "STORAGE_OPTIONS": options})
    assert fault.startswith("STORAGE_OPTIONS names a")


@pytest.mark.parametrize(
    ("provider", "needs"),
    [
        ("anthropic", ["LLM_MODEL", "ANTHROPIC_API_KEY"]),
        ("openai", ["LLM_MODEL", "OPENAI_API_KEY"]),
        ("azure_openai", ["LLM_MODEL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"]),
    ],
)
def test_provider_names_what_it_lacks(provider: str, needs: list[str]) -> None:
    chosen = DATABASE | {"LLM_PROVIDER": provider}
    assert [fault.split()[0] for fault in faults_of(chosen)] == needs
    assert loaded(chosen | dict.fromkeys(needs, "https://x")).llm_provider == provider


def test_database_url_fault_does_not_repeat_the_password() -> None:
    wrong = {"DATABASE_URL": "postgresql://camp:hunter2@db:notaport/camp"}
    (fault,) = faults_of(DATABASE | wrong)
    assert "hunter2" not in fault


def test_broken_line_in_file_is_told_with_its_number(tmp_path: Path) -> None:
    (tmp_path / ".env.development").write_text("PORT=1\nnonsense\n")
    assert faults_of(DATABASE, tmp_path) == [
        ".env.development line 2 is not NAME=VALUE. Correct or remove it."
    ]


def test_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env.development").write_bytes(b"\xff\xfe")
    (fault,) = faults_of(DATABASE, tmp_path)
    assert fault.startswith(".env.development cannot be read")


def test_production_starts_when_nothing_is_weak() -> None:
    assert loaded(PRODUCTION).auth_mode == "production"


UNSAFE = [
    ("AUTH_MODE", ""),
    ("AUTH_MODE", "development"),
    ("DEBUG", "true"),
    ("ALLOWED_ORIGINS", "https://a.example,*"),
    ("ENTRA_TENANT_ID", ""),
    ("ENTRA_AUDIENCE", ""),
    ("DATABASE_URL", "postgresql://camp:pw@db/camp"),
    ("DATABASE_URL", "postgresql://camp:pw@db/camp?sslmode=prefer"),
    ("DATABASE_URL", "postgresql://camp:pw@db/camp?ssl=allow"),
    ("DATABASE_URL", "postgresql://camp:pw@10.0.0.5/camp?sslmode=disable"),
    ("DATABASE_URL", "postgresql://camp:pw@/camp?host=127.0.0.1:5432,db:5432"),
]


@pytest.mark.parametrize(("name", "value"), UNSAFE)
def test_production_refuses_what_would_open_it(name: str, value: str) -> None:
    (fault,) = faults_of(PRODUCTION | {name: value})
    assert fault.startswith(name)


@pytest.mark.parametrize(
    "change",
    [
        {"DATABASE_URL": "postgresql://camp:pw@localhost/camp"},
        {"DATABASE_URL": "postgresql://camp:pw@[::1]:5432/camp"},
        {"DATABASE_URL": "postgresql://camp:pw@/camp?host=/run/postgresql"},
        {"DATABASE_URL": "postgresql://camp:pw@db/camp?ssl=require"},
        {"DATABASE_URL": "postgresql://camp:pw@db/camp", "DATABASE_ALLOW_PLAINTEXT": "true"},
    ],
)
def test_production_starts_when_nobody_can_listen_to_the_database(change: dict[str, str]) -> None:
    assert loaded(PRODUCTION | change).environment == "production"


def test_staging_that_signs_in_as_production_needs_its_directory() -> None:
    faults = faults_of(DATABASE | {"ENVIRONMENT": "staging", "AUTH_MODE": "production"})
    assert [fault.split()[0] for fault in faults] == ["ENTRA_TENANT_ID", "ENTRA_AUDIENCE"]


OWN = "kUr0ZqJmW3xv8TgYpLd2NcB6sEaH9fQi4oMw1RjX"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_public_token_opens_a_local_environment_on_loopback(host: str) -> None:
    settings = loaded(DATABASE | {"DEV_MOCK_TOKEN": "", "ENVIRONMENT": "local", "HOST": host})
    assert settings.dev_mock_token == "camp-dev-token"


@pytest.mark.parametrize("token", ["", "camp-dev-token"])
@pytest.mark.parametrize(
    "place",
    [
        {"ENVIRONMENT": "local", "HOST": "0.0.0.0"},
        {"ENVIRONMENT": "local", "HOST": "10.0.0.5"},
        {"ENVIRONMENT": "local", "HOST": "db.example"},
        {"ENVIRONMENT": ""},
        {"ENVIRONMENT": "development"},
        {"ENVIRONMENT": "staging"},
    ],
    ids=str,
)
def test_public_token_is_refused_everywhere_else(place: dict[str, str], token: str) -> None:
    (fault,) = faults_of(DATABASE | place | {"DEV_MOCK_TOKEN": token})
    assert fault.startswith("DEV_MOCK_TOKEN is public")
    assert "AUTH_MODE=production" in fault
    assert "secrets.token_urlsafe" in fault


@pytest.mark.parametrize(
    "place", [{"ENVIRONMENT": "local", "HOST": "0.0.0.0"}, {"ENVIRONMENT": "staging"}], ids=str
)
def test_token_that_others_can_try_must_be_hard_to_guess(place: dict[str, str]) -> None:
    (fault,) = faults_of(DATABASE | place)
    assert fault.startswith("DEV_MOCK_TOKEN is shorter")
    assert loaded(DATABASE | place | {"DEV_MOCK_TOKEN": OWN}).dev_mock_token == OWN


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"ENVIRONMENT": "local", "HOST": "0.0.0.0"},
        {"ENVIRONMENT": "production", "DATABASE_ALLOW_PLAINTEXT": "true"},
    ],
    ids=str,
)
def test_who_does_not_serve_need_not_say_who_may_sign_in(place: dict[str, str]) -> None:
    given = {"DATABASE_URL": DATABASE["DATABASE_URL"]} | place
    assert load(given, Path("no-such-folder"), serves=False).port == 8000
    unsafe = given | {"ENVIRONMENT": "production", "DATABASE_ALLOW_PLAINTEXT": "false"}
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        load(unsafe, Path("no-such-folder"), serves=False)
    directory = given | {"AUTH_MODE": "production"}
    assert load(directory, Path("no-such-folder"), serves=False).auth_mode == "production"


def test_shown_settings_hide_secrets() -> None:
    shown = redacted(loaded(DATABASE | {"OPENAI_API_KEY": "s3cret", "PORT": "81"}))
    assert shown["OPENAI_API_KEY"] == shown["DATABASE_URL"] == "***"
    assert (shown["PORT"], shown["REDIS_URL"]) == (81, None)


@pytest.mark.parametrize(
    ("module", "given", "named"),
    [
        ("openai", {"LLM_PROVIDER": "openai"}, "LLM_PROVIDER=openai needs a package"),
        (
            "opentelemetry.sdk",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT needs a package",
        ),
    ],
)
def test_package_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, given: dict[str, str], named: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError) as refused:
        load(DATABASE | given, Path("no-such-folder"))
    assert any(named in fault and "Install camp[o" in fault for fault in refused.value.faults)
