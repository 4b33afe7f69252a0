"""Settings of the service: the environment over `.env.{environment}` over defaults, read once."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from camp.config import env_file, media_types, storage_url
from camp.config.database_url import connect_options
from camp.config.misspelt import misspelt
from camp.config.needs import PROVIDER_NEEDS, extra_faults, provider_faults
from camp.config.production import (
    KEY_REMEDY,
    WEAK,
    plaintext_faults,
    production_faults,
    weak,
)
from camp.config.sign_in import DEFAULT_MOCK_TOKEN, sign_in_faults
from camp.errors import SettingsError

ENVIRONMENTS = ("development", "local", "staging", "production")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance runs with; field `x_y` comes from the variable `X_Y`."""

    environment: str
    debug: bool
    auth_mode: str
    entra_tenant_id: str | None
    entra_audience: tuple[str, ...]
    entra_issuer: tuple[str, ...]
    entra_jwks_url: str | None
    entra_required_scope: str
    entra_required_roles: tuple[str, ...]
    database_url: str
    database_allow_plaintext: bool
    redis_url: str | None
    redis_timeout_s: float
    dev_mock_token: str
    allowed_origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    rate_limit: str
    rate_limit_failure: str
    storage_url: str
    storage_options: tuple[str, ...]
    file_max_bytes: int
    file_types: tuple[str, ...]
    uploads_max: int
    uploads_per_user: int
    project_quota_bytes: int
    llm_provider: str
    llm_model: str | None
    llm_timeout_s: float
    llm_token_timeout_s: float
    llm_answer_timeout_s: float
    llm_max_tokens: int
    anthropic_api_key: str | None
    anthropic_base_url: str | None
    openai_api_key: str | None
    openai_base_url: str | None
    azure_openai_api_key: str | None
    azure_openai_endpoint: str | None
    azure_openai_api_version: str
    echo_token_delay_ms: int
    chat_heartbeat_s: float
    stream_stall_s: float
    streams_per_user: int
    run_workers: int
    run_lease_s: float
    run_max_active: int
    run_retention_days: int
    host: str
    port: int
    log_level: str
    otel_exporter_otlp_endpoint: str | None
    db_pool_size: int
    db_max_overflow: int
    db_pool_timeout_s: float
    drain_deadline_s: float
    camp_instance: str
    camp_digest: str
    camp_config_hash: str
    camp_agent_token: str | None
    camp_smoke_token: str | None


class Variable(NamedTuple):
    """One environment variable: how to read it and what to say when it cannot be read."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    remedy: str
    required: bool = False
    secret: bool = False

    @property
    def field(self) -> str:
        return self.name.lower()


def _text(raw: str) -> str:
    return raw


def _secret(raw: str) -> str:
    if weak(raw):
        raise ValueError(WEAK)
    return raw


def _flag(raw: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if raw.lower() not in words:
        raise ValueError("is neither true nor false")
    return words[raw.lower()]


def _choice(*words: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in words:
            raise ValueError(f"is {raw!r}, which is not one of {', '.join(words)}")
        return raw

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise ValueError(f"is {raw!r}, which is not a whole number from {low} to {high}")
        return int(raw)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:  # also false for nan
            raise ValueError(f"is {raw!r}, which is not a number of seconds from {low} to {high}")
        return value

    return parse


def _words(raw: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in raw.split(",") if word.strip())


def _networks(raw: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(cidr)) for cidr in _words(raw))


def _rate(raw: str) -> str:
    if raw and not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", raw):
        raise ValueError(f"is {raw!r}, which is not a number, a slash and a unit of time")
    return raw


def _database_url(raw: str) -> str:
    connect_options(raw)
    return raw


def _tenant(raw: str) -> str:
    # `common` and `organizations` would let every directory of the world in.
    try:
        return str(UUID(raw))
    except ValueError:
        raise ValueError(f"is {raw!r}, which is not the id of one directory") from None


def _trusted_url(raw: str) -> str:
    """A URL whose answers decide who comes in: nobody on the way may change them."""
    parts = urlsplit(raw)
    here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if not parts.hostname or not (here or parts.scheme == "https"):
        raise ValueError("is not an https:// URL")
    return raw


def _trusted_urls(raw: str) -> tuple[str, ...]:
    return tuple(_trusted_url(url) for url in _words(raw))


def _redis_url(raw: str) -> str:
    if urlsplit(raw).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("does not start with redis://, rediss:// or unix://")
    return raw


def _http_url(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("does not start with http:// or https:// and a host")
    return raw


VARIABLES = (
    Variable("ENVIRONMENT", _choice(*ENVIRONMENTS), "development", "Set one of these names."),
    Variable("DEBUG", _flag, "false", "Set true or false."),
    Variable(
        "AUTH_MODE",
        _choice("development", "production"),
        "development",
        "Set AUTH_MODE=development for the mock token or AUTH_MODE=production.",
    ),
    Variable("ENTRA_TENANT_ID", _tenant, None, "Set the id of your directory in Entra ID."),
    Variable("ENTRA_AUDIENCE", _words, "", "Set the application id of the API in Entra ID."),
    Variable("ENTRA_ISSUER", _trusted_urls, "", "Set the `iss` of your cloud's tokens."),
    Variable("ENTRA_JWKS_URL", _trusted_url, None, "Set the URL of your cloud's keys."),
    Variable("ENTRA_REQUIRED_SCOPE", _text, "access_as_user", "Set the API's scope, by its name."),
    Variable("ENTRA_REQUIRED_ROLES", _words, "", "List app roles by commas, or unset it."),
    Variable(
        "DATABASE_URL",
        _database_url,
        None,
        "Set it to postgresql://USER:PASSWORD@HOST:5432/NAME.",
        required=True,
        secret=True,
    ),
    Variable("DATABASE_ALLOW_PLAINTEXT", _flag, "false", "Set true or false."),
    Variable("REDIS_URL", _redis_url, None, "Set redis://HOST:6379/0 or unset it.", secret=True),
    Variable("REDIS_TIMEOUT_S", _seconds(0.05, 2), "0.25", "Set how long a call may wait for it."),
    Variable("DEV_MOCK_TOKEN", _text, DEFAULT_MOCK_TOKEN, "Set a word of your own.", secret=True),
    Variable("ALLOWED_ORIGINS", _words, "", "List origins separated by commas."),
    Variable("TRUSTED_PROXIES", _networks, "", "List networks such as 10.0.0.0/8, by commas."),
    Variable("RATE_LIMIT", _rate, "", "Set N/second, N/minute, N/hour or N/day, or unset it."),
    Variable(
        "RATE_LIMIT_FAILURE", _choice("open", "closed", "local"), "open", "Set one of these words."
    ),
    Variable(
        "STORAGE_URL",
        storage_url.parse_url,
        "file:.camp/files",
        "Set file:///FOLDER, s3://BUCKET/PREFIX or az://CONTAINER/PREFIX.",
    ),
    Variable(
        "STORAGE_OPTIONS",
        storage_url.parse_options,
        "",
        "List the provider's options, such as aws_region=eu-central-1, separated by commas.",
        secret=True,
    ),
    Variable("FILE_MAX_BYTES", _integer(1, 10**12), "268435456", "Set the largest file's bytes."),
    Variable(
        "FILE_TYPES",
        media_types.parse_types,
        ",".join(media_types.TYPES),
        "List media types separated by commas.",
    ),
    Variable("UPLOADS_MAX", _integer(1, 10_000), "10", "Set how many an instance takes."),
    Variable("UPLOADS_PER_USER", _integer(1, 10_000), "3", "Set how many a user may send."),
    Variable(
        "PROJECT_QUOTA_BYTES", _integer(0, 10**15), "10737418240", "Set its bytes; 0: no limit."
    ),
    Variable("LLM_PROVIDER", _choice(*PROVIDER_NEEDS), "echo", "Set one of these names."),
    Variable("LLM_MODEL", _text, None, "Set the model's name; at Azure the deployment's."),
    Variable("LLM_TIMEOUT_S", _seconds(0.05, 600), "60", "Set the wait for the first token."),
    Variable("LLM_TOKEN_TIMEOUT_S", _seconds(0.05, 600), "30", "Set the wait between two tokens."),
    Variable("LLM_ANSWER_TIMEOUT_S", _seconds(0.05, 86_400), "600", "Set the time of an answer."),
    Variable("LLM_MAX_TOKENS", _integer(1, 1_000_000), "4096", "Set the longest answer."),
    Variable("ANTHROPIC_API_KEY", _text, None, "Set Anthropic's key.", secret=True),
    Variable("ANTHROPIC_BASE_URL", _http_url, None, "Set a URL or unset it."),
    Variable("OPENAI_API_KEY", _text, None, "Set OpenAI's key.", secret=True),
    Variable("OPENAI_BASE_URL", _http_url, None, "Set a URL or unset it."),
    Variable("AZURE_OPENAI_API_KEY", _text, None, "Set the resource's key.", secret=True),
    Variable("AZURE_OPENAI_ENDPOINT", _http_url, None, "Set https://RESOURCE.openai.azure.com."),
    Variable("AZURE_OPENAI_API_VERSION", _text, "2024-10-21", "Set a version of the API."),
    Variable("ECHO_TOKEN_DELAY_MS", _integer(0, 5000), "50", "Set milliseconds per token."),
    Variable("CHAT_HEARTBEAT_S", _seconds(0.05, 300), "5", "Set the pause between heartbeats."),
    Variable("STREAM_STALL_S", _seconds(0.05, 3600), "30", "Set the wait for a slow reader."),
    Variable("STREAMS_PER_USER", _integer(1, 10_000), "50", "Set a user's streams at once."),
    Variable("RUN_WORKERS", _integer(0, 32), "2", "Set the runs at once; 0 works on none."),
    Variable("RUN_LEASE_S", _seconds(1, 300), "15", "Set how long a silent worker keeps a run."),
    Variable("RUN_MAX_ACTIVE", _integer(1, 10_000), "100", "Set how many runs a user may have."),
    Variable("RUN_RETENTION_DAYS", _integer(0, 3650), "30", "Set days; 0 keeps ended runs."),
    Variable("HOST", _text, "127.0.0.1", "Set the address to listen on."),
    Variable("PORT", _integer(0, 65535), "8000", "Set a free TCP port; 0 picks one."),
    Variable(
        "LOG_LEVEL", _choice("debug", "info", "warning", "error"), "info", "Set one of these words."
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        _http_url,
        None,
        "Set the URL of your collector, or unset it.",
    ),
    Variable("DB_POOL_SIZE", _integer(1, 200), "10", "Set the connections an instance keeps."),
    Variable("DB_MAX_OVERFLOW", _integer(0, 200), "0", "Set the connections added under load."),
    Variable("DB_POOL_TIMEOUT_S", _seconds(0.05, 60), "5", "Set the wait for a connection."),
    Variable("DRAIN_DEADLINE_S", _seconds(0, 86_400), "30", "Set how long streams may run on."),
    Variable("CAMP_INSTANCE", _text, "local/1", "Set HOST/SLOT; the agent does."),
    Variable("CAMP_DIGEST", _text, "", "Set the release's digest; the agent does."),
    Variable("CAMP_CONFIG_HASH", _text, "", "Set the config's hash; the agent does."),
    Variable("CAMP_AGENT_TOKEN", _text, None, "Set the token agents drain with.", secret=True),
    Variable("CAMP_SMOKE_TOKEN", _secret, None, KEY_REMEDY, secret=True),
)


def load(environ: Mapping[str, str], root: Path, *, serves: bool = True) -> Settings:
    """Settings from `environ` over `root/.env.{ENVIRONMENT}` over defaults.

    Who does not serve, nor start what does, need not say who may come in.
    Raises SettingsError with every fault found; an empty value counts as unset.
    """
    faults: list[str] = []
    given = {name: value for name, value in environ.items() if value}
    environment = given.get("ENVIRONMENT", "development")
    if environment in ENVIRONMENTS:
        given = env_file.read(root / f".env.{environment}", faults) | given
    faults.extend(misspelt(given, [variable.name for variable in VARIABLES]))
    given["ENVIRONMENT"] = environment
    values = {variable.field: _value(variable, given, faults) for variable in VARIABLES}
    remedies = {variable.name: variable.remedy for variable in VARIABLES}
    faults.extend(provider_faults(given, values["llm_provider"], remedies))
    faults.extend(extra_faults(values))
    faults.extend(_storage_faults(values))
    if serves:
        faults.extend(sign_in_faults(given, values))
        if environment == "production":
            faults.extend(production_faults(values))
    if environment == "production":
        faults.extend(plaintext_faults(values))
    if faults:
        raise SettingsError(faults)
    return Settings(**values)


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings by variable name, fit for a log: secrets are masked, unset stays None."""
    return {
        variable.name: "***" if variable.secret and value is not None else value
        for variable in VARIABLES
        for value in [getattr(settings, variable.field)]
    }


def exported(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for a process that must run with the same."""
    return {
        variable.name: written(value)
        for variable in VARIABLES
        if (value := getattr(settings, variable.field)) is not None
    }


def written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _value(variable: Variable, given: Mapping[str, str], faults: list[str]) -> Any:
    raw = given.get(variable.name, variable.default)
    if raw is None:
        if variable.required:
            faults.append(f"{variable.name} is not set. {variable.remedy}")
        return None
    try:
        return variable.parse(raw)
    except ValueError as error:
        faults.append(f"{variable.name} {error}. {variable.remedy}")
        return None


def _storage_faults(values: Mapping[str, Any]) -> list[str]:
    """Options that the storage would refuse at its first use, in a user's request."""
    url, options = values["storage_url"], values["storage_options"]
    fault = storage_url.options_fault(url, options) if url and options else None
    return [f"STORAGE_OPTIONS {fault}. Correct one of the two."] if fault else []
