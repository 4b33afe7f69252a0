"""From a libpq style database URL to what SQLAlchemy and asyncpg understand."""

import ssl
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
# asyncpg reads these from its arguments under their libpq names.
PASSED_ON = ("host", "port", "user", "password", "target_session_attrs", "ssl")


def connect_options(url: str) -> tuple[URL, dict[str, Any]]:
    """(SQLAlchemy URL for asyncpg, connect_args) for a postgresql:// URL with libpq options.

    Raises ValueError with a sentence when the URL or one of its options cannot be used.
    """
    parsed = _parsed(url)
    options = {name: _single(name, value) for name, value in parsed.query.items()}
    connect_args: dict[str, Any] = {}
    tls = {name: options.pop(name) for name in TLS_OPTIONS if name in options}
    if tls:
        connect_args["ssl"] = _tls(tls)
    if "connect_timeout" in options:
        connect_args["timeout"] = _timeout_s(options.pop("connect_timeout"))
    if "application_name" in options:
        connect_args["server_settings"] = {"application_name": options.pop("application_name")}
    unknown = [name for name in options if name not in PASSED_ON]
    if unknown:
        raise ValueError(f"has the option {unknown[0]!r}, which is not supported: remove it")
    return parsed.set(drivername="postgresql+asyncpg", query=options), connect_args


def asyncpg_arguments(url: str) -> dict[str, Any]:
    """Keyword arguments for `asyncpg.connect`, for connections outside the pool."""
    parsed, connect_args = connect_options(url)
    arguments: dict[str, Any] = parsed.translate_connect_args(username="user")
    arguments |= dict(parsed.query) | connect_args
    if "port" in arguments:
        arguments["port"] = int(arguments["port"])
    return arguments


def where(url: str) -> list[str]:
    """The hosts that a usable URL names; a Unix socket's folder counts as one, none is []."""
    parsed = _parsed(url)
    named = f"{parsed.host or ''},{parsed.query.get('host', '')}"
    return [_without_port(host) for host in named.split(",") if host]


def tls_is_certain(url: str) -> bool:
    """Whether a usable URL allows no connection in plain text; `prefer` falls back to it."""
    query = _parsed(url).query
    # `sslmode` wins: it becomes an argument, and `ssl` stays a part of the URL.
    mode = query.get("sslmode", query.get("ssl"))
    if mode is None:
        return query.get("sslrootcert") == "system"
    return mode in {"require", "verify-ca", "verify-full"}


def _without_port(host: str) -> str:
    """`db:5432` and `[::1]:5432` without the port; a bare IPv6 address has more colons."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained into the message: the parser's own text repeats the password.
        raise ValueError("is not a database URL") from None
    if parsed.drivername not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError(f"starts with {parsed.drivername}://, and only postgresql:// is supported")
    if not parsed.database:
        raise ValueError("names no database after the host")
    return parsed


def _single(name: str, value: str | tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise ValueError(f"gives the option {name!r} more than once")
    return value


def _timeout_s(raw: str) -> float:
    if not raw.isascii() or not raw.isdigit():
        raise ValueError("has a connect_timeout that is not a whole number of seconds")
    # libpq: 0 waits for ever, and 1 is rounded up to 2. We never wait for ever.
    return max(float(raw), 2.0)


def _tls(options: dict[str, str]) -> ssl.SSLContext | str | bool:
    """asyncpg's `ssl` argument. `require` encrypts without verifying anyone, as libpq does."""
    root = options.get("sslrootcert")
    # libpq: a root certificate turns require into verify-ca; `system` means the system's store.
    mode = options.get("sslmode", "verify-full" if root == "system" else "prefer")
    if mode not in SSL_MODES:
        raise ValueError(f"has sslmode={mode}, which is not one of {', '.join(SSL_MODES)}")
    if mode == "disable":
        return False
    if mode == "require" and root:
        mode = "verify-ca"
    if not mode.startswith("verify-") and "sslcert" not in options:
        return mode
    return _context(mode, root, options)


def _context(mode: str, root: str | None, options: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if root in {None, "system"} else root)
        if "sslcert" in options:
            context.load_cert_chain(options["sslcert"], options.get("sslkey"))
    except OSError as error:
        raise ValueError(f"names a certificate or key that cannot be read ({error})") from None
    if mode != "verify-full":
        context.check_hostname = False
    if not mode.startswith("verify-"):
        context.verify_mode = ssl.CERT_NONE
    return context
