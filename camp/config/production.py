"""What is refused at the start, because it would leave the service open."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from camp.config.database_url import tls_is_certain, where

SECRET_MIN_CHARS = 32
# `aaaa…` and `changeme-changeme-…` are long and weak; token_urlsafe(24) has about 20 of them.
SECRET_MIN_DISTINCT = 12
WEAK = (
    f"is shorter than {SECRET_MIN_CHARS} characters or of fewer than"
    f" {SECRET_MIN_DISTINCT} different ones"
)
PLAINTEXT = (
    "DATABASE_URL names another host without TLS. Add ?sslmode=verify-full, or set"
    " DATABASE_ALLOW_PLAINTEXT=true when nobody can listen on that network."
)
KEY_REMEDY = 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))".'


def production_faults(values: Mapping[str, Any]) -> list[str]:
    """What production does not serve with, by final values: an unset AUTH_MODE is not production.

    A value is None when it is unset or could not be read.
    """
    faults = []
    if values["auth_mode"] != "production":
        faults.append(
            "AUTH_MODE is not production: the public mock token would open production. "
            "Set AUTH_MODE=production."
        )
    if values["debug"]:
        faults.append("DEBUG is on in production. Unset DEBUG or set DEBUG=false.")
    if "*" in (values["allowed_origins"] or ()):
        faults.append("ALLOWED_ORIGINS contains '*' in production. List the origins by name.")
    return faults


def plaintext_faults(values: Mapping[str, Any]) -> list[str]:
    """What production refuses whoever uses the database."""
    if values["database_allow_plaintext"] or not _reads_along(values["database_url"]):
        return []
    return [PLAINTEXT]


def weak(key: str) -> bool:
    """Whether a secret can be guessed."""
    return len(key) < SECRET_MIN_CHARS or len(set(key)) < SECRET_MIN_DISTINCT


def _reads_along(database_url: str | None) -> bool:
    """Whether somebody on the network may see what goes to the database."""
    if database_url is None or tls_is_certain(database_url):
        return False
    return not all(is_here(host) for host in where(database_url))


def is_here(host: str) -> bool:
    """Whether a host is this machine: a Unix socket's folder, localhost or a loopback address."""
    if host.startswith(("/", "@")) or host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
