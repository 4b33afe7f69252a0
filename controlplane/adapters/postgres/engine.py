"""Engines for processes that have none to share: leaders, agents, the command line."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from camp.config.database_url import connect_options
from controlplane.domain.errors import Invalid

CONNECT_TIMEOUT_S = 3.0
# Above the store's own limit: it exists for connections whose owner is gone.
STATEMENT_TIMEOUT_MS = "10000"
LOCK_TIMEOUT_MS = "2000"


def open_engine(database_url: str, name: str = "camp control plane") -> AsyncEngine:
    """A small pool; nothing connects before the first use. Raises Invalid for an unusable URL.

    Two connections suffice a loop that does one thing at a time and an agent beside it.
    """
    try:
        url, arguments = connect_options(database_url)
    except ValueError as error:
        raise Invalid(f"DATABASE_URL {error}.") from error
    settings = {
        "application_name": name,
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT_MS,
        # The statements are short; compiling them just in time would cost more than running them.
        "jit": "off",
    }
    arguments = {"timeout": CONNECT_TIMEOUT_S} | arguments | {"server_settings": settings}
    return create_async_engine(
        url,
        pool_size=2,
        max_overflow=2,
        pool_timeout=CONNECT_TIMEOUT_S,
        connect_args=arguments,
        hide_parameters=True,  # they name hashes of tokens
    )
