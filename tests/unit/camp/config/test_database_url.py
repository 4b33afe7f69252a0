from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from camp.config.database_url import asyncpg_arguments, connect_options

URL = "postgresql://camp:pw@db:5433/camp"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_spelling_of_the_scheme_becomes_asyncpg(scheme: str) -> None:
    url, connect_args = connect_options(f"{scheme}://camp@db/camp")
    assert url.drivername == "postgresql+asyncpg"
    assert connect_args == {}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("disable", False), ("allow", "allow"), ("prefer", "prefer"), ("require", "require")],
)
def test_sslmode_without_verification_becomes_ssl(mode: str, expected: object) -> None:
    url, connect_args = connect_options(f"{URL}?sslmode={mode}")
    assert connect_args == {"ssl": expected}
    assert "sslmode" not in url.query


def test_verify_full_checks_certificate_and_host_name() -> None:
    context = connect_options(f"{URL}?sslmode=verify-full")[1]["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("options", ["sslmode=verify-ca", "sslmode=verify-ca&sslrootcert=system"])
def test_verify_ca_checks_the_certificate_only(options: str) -> None:
    context = connect_options(f"{URL}?{options}")[1]["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_require_with_a_root_certificate_verifies_as_libpq_does() -> None:
    context = connect_options(f"{URL}?sslmode=require&sslrootcert=system")[1]["ssl"]
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_unreadable_root_certificate_is_a_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match="cannot be read"):
        connect_options(f"{URL}?sslmode=verify-full&sslrootcert={missing}")


def test_unreadable_client_certificate_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        connect_options(f"{URL}?sslmode=require&sslcert={tmp_path / 'c.pem'}")


def test_timeout_and_application_name_are_translated() -> None:
    connect_args = connect_options(f"{URL}?connect_timeout=7&application_name=x")[1]
    assert connect_args == {"timeout": 7.0, "server_settings": {"application_name": "x"}}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("gssencmode=disable", "gssencmode"),
        ("connect_timeout=soon", "connect_timeout"),
        ("sslmode=require&sslmode=disable", "more than once"),
    ],
)
def test_option_that_cannot_be_translated_is_named(query: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        connect_options(f"{URL}?{query}")


def test_asyncpg_gets_the_same_place() -> None:
    assert asyncpg_arguments(f"{URL}?sslmode=disable") == {
        "user": "camp",
        "password": "pw",
        "host": "db",
        "port": 5433,
        "database": "camp",
        "ssl": False,
    }


def test_socket_folder_in_the_query_is_the_host() -> None:
    arguments = asyncpg_arguments("postgresql://camp@/camp?host=/run/pg&port=5444")
    assert (arguments["host"], arguments["port"]) == ("/run/pg", 5444)
